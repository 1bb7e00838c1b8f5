"""A record that does not parse keeps its key where it can be read, and takes nothing from other rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from millrace.schemas.config import Job
from millrace.schemas.summary import RunSummary
from tests.helpers import columns_mlp, job_of, rows

COLUMNS = {
    "id": {"type": "bigint", "nullable": False, "unique": True},
    "size": {"type": "double"},
}
ONE = {
    "expect": "ExpectColumnMaxToBeBetween",
    "column": "id",
    "max_value": 2,
    "severity": "critical",
}
CSV = """id,size
1,0.5
2,1.5
3,many
1,some
x,0.5
4,0.5,0.5
"""
JSON = """{"id": 1, "size": 0.5}
{"id": 2, "size": 1.5}
{"size": "many", "id": 3}
{"id": 1, "size": [1]}
{"id": "x", "size": 0.5}
{"id": 4, "size": 0.5
"""


@pytest.mark.spark
@pytest.mark.parametrize(("form", "text"), [("csv", CSV), ("json", JSON)], ids=["csv", "json"])
def test_the_quarantine_has_the_key_and_a_good_row_with_the_same_key_is_scored(
    form: str, text: str, score: Callable[[Job], RunSummary], tmp_path: Path
) -> None:
    model = columns_mlp(tmp_path / "model", size="double")
    (tmp_path / "input").mkdir()
    (tmp_path / "input" / "all").with_suffix(f".{form}").write_text(text)
    contract: dict[str, Any] = {
        "columns": COLUMNS,
        "expectations": [ONE],
        "max_quarantined": 1.0,
    }
    source = {"format": form, "path": str(tmp_path / "input")}

    summary = score(job_of(tmp_path, model, source=source, contract=contract))

    lake = tmp_path / "lake"
    assert (summary.scored, summary.quarantined) == (2, 4)
    assert sorted(row["id"] for row in rows(lake, "SELECT id FROM predictions_tiny")) == [1, 2]
    kept = rows(lake, "SELECT key, payload, reasons FROM quarantine ORDER BY key")
    keys = sorted((json.loads(row["key"])["id"] for row in kept), key=lambda one: one or 0)
    assert keys == [None, None, 1, 3]  # no number, and a record whose fields cannot be told apart
    assert {reason["rule"] for row in kept for reason in row["reasons"]} == {"record.well_formed"}
    assert all(len(row["reasons"]) == 1 for row in kept)
    checked = rows(lake, "SELECT rule, failed, passed FROM validations")
    assert all(row["passed"] for row in checked if row["rule"] != "record.well_formed"), checked
