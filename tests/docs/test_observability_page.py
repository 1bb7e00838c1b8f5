"""What docs/OBSERVABILITY.md shows is what there is: settings, metrics, labels, alerts, fields of the log."""

from __future__ import annotations

import re

import yaml

from millrace.pipelines.console import progress
from millrace.pipelines.console.progress_state import Tally
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.observability import metrics
from millrace.pipelines.observability.metrics_server import CACHE_S
from millrace.schemas.observe import Observe
from tests.deploy.test_monitoring import RULES
from tests.docs.test_snippets import ROOT, blocks
from tests.pipelines.observability.test_metrics import lake  # noqa: F401 - a fixture

PAGE = ROOT / "docs" / "OBSERVABILITY.md"
TEXT = PAGE.read_text("utf-8")


def test_the_settings_are_all_there_are_and_the_time_is_the_default() -> None:
    (block,) = [block for block in blocks(PAGE) if block.title == "observe.yaml"]
    told = Observe.model_validate(yaml.safe_load(block.text)["observe"])
    assert set(yaml.safe_load(block.text)["observe"]) == set(Observe.model_fields)
    assert told.openlineage_timeout_s == Observe().openlineage_timeout_s
    assert (Observe().metrics, Observe().openlineage) == (None, None)


def test_the_metrics_and_their_labels_are_those_exposed(lake) -> None:  # type: ignore[no-untyped-def]  # noqa: F811
    text = metrics.exposition(LakeLocation(lake))
    there: dict[str, set[str]] = {}
    for name, labels in re.findall(r"^(millrace_\w+)\{(.*)\} ", text, re.MULTILINE):
        there.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    rows = re.findall(r"^\| (`millrace_.*?) \| (.*?) \|", TEXT, re.MULTILINE)
    told = {
        name: {"job", *re.findall(r"`(\w+)`", labels)}
        for names, labels in rows
        for name in re.findall(r"`(\w+)`", names)
    }
    assert set(there) <= set(told)
    assert (
        not set(told) - set(there) - {"millrace_carbon_grams"}
    )  # that lake says nothing of its grid
    assert {name: told[name] for name in there} == there


def test_the_alerts_are_those_of_the_rules() -> None:
    assert re.findall(r"^\| `(Millrace\w+)` \|", TEXT, re.MULTILINE) == [r["alert"] for r in RULES]


def test_the_times_are_those_of_the_code() -> None:
    assert f"a plain line every {progress.PLAIN_EVERY_S:.0f} seconds" in TEXT
    assert f"given again for {CACHE_S:.0f} seconds" in TEXT


def test_the_fields_of_the_log_are_those_that_are_written() -> None:
    (row,) = re.findall(r"^\| (`rows`, .*?) \|", TEXT, re.MULTILINE)
    assert re.findall(r"`(\w+)`", row) == list(Tally().facts())
