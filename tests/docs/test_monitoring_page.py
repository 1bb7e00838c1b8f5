"""What docs/MONITORING.md shows is what happens: settings, figures, SQL."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import yaml

from millrace.pipelines.lake import delta
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.profiling import profiler, sketches
from millrace.pipelines.profiling.distances import RARE, compared
from millrace.pipelines.profiling.profiles import measures_of
from millrace.pipelines.profiling.sketches import Numbers
from millrace.pipelines.query.engine import query
from millrace.schemas.monitor import Drift, Monitor, Outputs
from millrace.schemas.tables import DRIFT
from tests.docs.test_snippets import ROOT, blocks

PAGE = ROOT / "docs" / "MONITORING.md"
TEXT = PAGE.read_text("utf-8")
SHOWN = {block.title: block.text for block in blocks(PAGE)}


def test_the_settings_are_settings_and_those_of_drift_the_defaults() -> None:
    shown = Monitor.model_validate(yaml.safe_load(SHOWN["monitor.yaml"])["monitor"])
    assert shown.drift == Drift() == Monitor().drift
    unset = {"max_nan_share": None, "min_classes": None, "ranges": {}}
    assert shown.outputs.model_copy(update=unset) == Outputs()
    assert set(yaml.safe_load(SHOWN["monitor.yaml"])["monitor"]["outputs"]) == set(
        Outputs.model_fields
    )


def test_the_figures_are_those_of_the_code() -> None:
    assert f"about\n  {profiler.SAMPLED_ROWS:,} rows" in TEXT.replace(" about ", " about\n  ")
    assert f"up to {sketches.MOST_CATEGORIES} different values" in TEXT
    assert f"at most {sketches.LONGEST_CATEGORY} characters" in TEXT
    assert f"more than {sketches.MOST_CELLS:,} cells" in TEXT
    assert f"less than {100 * RARE:.1f} % of both" in TEXT


@pytest.mark.parametrize(
    ("kind", "names"),
    [("decimal(9,2)", ["value"]), ("string", ["category", "length"]), ("boolean", ["category"]),
     ("binary", ["length"]), ("array<float>", ["length", "mean"]), ("array<string>", ["length"]),
     ("date", []), ("timestamp", []), ("struct<a:int>", [])],
)  # fmt: skip
def test_the_table_of_measures_is_right(kind: str, names: list[str]) -> None:
    assert [measure.name for measure in measures_of({"x": kind})] == names


def test_the_shifts_on_the_page_have_these_distances() -> None:
    rows = re.findall(
        r"^\| (PSI|KS|JS) \|.*\| ([\d.]+), ([\d.]+), ([\d.]+) \|$", TEXT, re.MULTILINE
    )
    shown = {name: [float(figure) for figure in figures] for name, *figures in rows}
    random = np.random.default_rng(0)
    before = Numbers.of(random.normal(0, 1, 200_000))
    for place, shift in enumerate((0.25, 0.5, 1.0)):
        found = compared(before, Numbers.of(random.normal(shift, 1, 200_000)))
        assert found is not None
        assert shown["PSI"][place] == pytest.approx(found.found.psi, rel=0.06)
        assert shown["KS"][place] == pytest.approx(found.found.ks, abs=0.01)
        assert shown["JS"][place] == pytest.approx(found.found.js, abs=0.015)


def test_the_sql_gives_what_drifted(tmp_path: Path) -> None:
    row = {"run_id": "a", "column": "amount", "measure": "value", "psi": 0.5, "drifted": True}
    at = {"at": datetime(2026, 1, 1, tzinfo=UTC)}
    rows = [row | at, row | at | {"unit": 3}, row | at | {"drifted": False}]
    delta.append_values(rows, LakeLocation(tmp_path), DRIFT, "test")
    (found,) = query(LakeLocation(tmp_path), SHOWN["drift.sql"]).to_pylist()
    assert (found["run_id"], found["column"], found["psi"]) == ("a", "amount", 0.5)
