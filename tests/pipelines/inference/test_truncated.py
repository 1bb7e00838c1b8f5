"""A text that is longer than its model reads is scored, says so in its row, and is counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from millrace.schemas.tables import TRUNCATED
from tests.helpers import job_of, rows, tiny_bert, write_parquet

LONG = "good day " * 40


@pytest.mark.spark
@pytest.mark.parametrize(("surface", "cache"), [("arrow", "table"), ("pandas", "off")])
def test_a_run_counts_texts_that_were_cut_and_keeps_them_out_of_the_cache(
    score: Callable[..., Any], tmp_path: Path, surface: str, cache: str
) -> None:
    model = tiny_bert(tmp_path / "model", "embed", max_tokens=16)
    texts = ["good", LONG, "bad night", LONG, "day"]
    write_parquet(tmp_path / "input", pa.table({"id": range(5), "text": texts}))
    contract = {
        "columns": {"id": {"type": "bigint", "nullable": False}, "text": {"type": "string"}},
        "rules": [{"name": "is_short", "holds": "length(text) < 9", "severity": "warn"}],
    }
    engine = {"backend": "torch", "precision": "fp32", "surface": surface, "dedupe": "off"}
    engine["cache"] = cache
    job = job_of(tmp_path, model, name="texts", contract=contract, engine=engine)

    summary = score(job)

    assert (summary.scored, summary.truncated) == (5, 2)
    assert any(warning.startswith("2 texts are longer") for warning in summary.warnings)
    found = rows(tmp_path / "lake", "SELECT id, warnings FROM predictions_texts ORDER BY id")
    cut = ["is_short", TRUNCATED]
    assert [row["warnings"] for row in found] == [[], cut, ["is_short"], cut, []]
    if cache == "off":
        return
    again = score(job, fresh=True)  # the others come from the cache, which does not know of cuts
    assert (again.scored, again.truncated, again.saved_rows) == (5, 2, 3)
