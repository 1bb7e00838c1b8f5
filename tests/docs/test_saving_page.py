"""What docs/SAVING.md shows is what happens: its settings are settings, its SQL has an answer."""

from __future__ import annotations

from pathlib import Path

import yaml

from millrace.pipelines.lake import delta
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.query.engine import query
from millrace.schemas.config import Engine
from millrace.schemas.tables import LEDGER
from tests.docs.test_snippets import ROOT, blocks

PAGE = {block.title: block.text for block in blocks(ROOT / "docs" / "SAVING.md")}


def test_the_settings_are_settings_and_the_numbers_their_defaults() -> None:
    shown = yaml.safe_load(PAGE["engine.yaml"])["engine"]
    settings = Engine.model_validate(shown)
    assert settings == Engine(dedupe="unit", cache="table")


def test_the_sql_has_the_rows_and_seconds_that_a_run_saved(tmp_path: Path) -> None:
    row = {"x_RunId": "a", "x_CostKind": "saved", "x_RowsIn": 45, "x_SlotMs": 1500}
    spent = {**row, "x_CostKind": "useful", "SkuMeter": "Core"}
    rows = [{**row, "SkuMeter": meter} for meter in ("Core", "Memory")]
    delta.append_values([*rows, spent], LakeLocation(tmp_path), LEDGER, "test")
    assert query(LakeLocation(tmp_path), PAGE["saved.sql"]).to_pylist() == [
        {"x_RunId": "a", "rows": 45, "task_s": 1.5}
    ]
