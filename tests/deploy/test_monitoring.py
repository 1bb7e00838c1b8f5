"""The dashboard and the alerts in deploy/monitoring are about metrics that there are, and work."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.observability import metrics
from tests.pipelines.observability.test_metrics import lake  # noqa: F401 - a fixture

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "monitoring"
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text("utf-8"))
RULES = [
    rule
    for group in yaml.safe_load((FOLDER / "rules.yaml").read_text("utf-8"))["groups"]
    for rule in group["rules"]
]
promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not on this machine"
)


def expressions() -> list[str]:
    shown = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    return shown + [rule["expr"] for rule in RULES]


def run(*words: str) -> None:
    done = subprocess.run(
        ["promtool", *words], cwd=FOLDER, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_metric_and_label_that_is_asked_for_is_exposed(lake: Path) -> None:  # noqa: F811
    told = metrics.exposition(LakeLocation(lake))
    there: dict[str, set[str]] = {}
    for name, labels in re.findall(r"^(millrace_\w+)\{(.*)\} ", told, re.MULTILINE):
        there.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    for expression in expressions():
        for name, labels in re.findall(r"(millrace_\w+)(?:\{([^}]*)\})?", expression):
            assert name in there, f"{name} is not exposed"
            assert set(re.findall(r"(\w+)=~?\"", labels)) <= there[name], expression


def test_every_family_has_its_type_and_help(lake: Path) -> None:  # noqa: F811
    told = metrics.exposition(LakeLocation(lake))
    names = set(re.findall(r"^(millrace_\w+)\{", told, re.MULTILINE))
    for word in ("HELP", "TYPE"):
        assert set(re.findall(rf"^# {word} (\w+)", told, re.MULTILINE)) == names


def test_no_panel_lies_on_another() -> None:
    cells: list[tuple[int, int]] = []
    for panel in DASHBOARD["panels"]:
        at: dict[str, int] = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells += [
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        ]
    assert len(cells) == len(set(cells))
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))


def test_there_are_five_alerts_and_each_is_tested() -> None:
    tested = yaml.safe_load((FOLDER / "rules_test.yaml").read_text("utf-8"))["tests"]
    named = {
        one["alertname"] for test in tested for one in test["alert_rule_test"] if one["exp_alerts"]
    }
    assert named == {rule["alert"] for rule in RULES}
    assert len(RULES) == 5


@promtool
def test_the_alerts_are_rules_and_fire_when_they_should() -> None:
    run("check", "rules", "rules.yaml")
    run("test", "rules", "rules_test.yaml")


@promtool
def test_what_the_dashboard_asks_is_promql(tmp_path: Path) -> None:
    asked = [text.replace("$job", ".*") for text in expressions()]
    rules: list[dict[str, Any]] = [
        {"record": f"a:{n}", "expr": text} for n, text in enumerate(asked)
    ]
    path = tmp_path / "asked.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "asked", "rules": rules}]}))
    run("check", "rules", str(path))
