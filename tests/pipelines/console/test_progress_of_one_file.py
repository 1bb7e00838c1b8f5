"""One input file: rows are shown while it is scored, as many as the model has computed, and no guess."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake
from pyspark.sql import SparkSession

from millrace.pipelines.console import progress, structured_log
from millrace.pipelines.console.progress import Progress
from millrace.pipelines.run.runner import run
from millrace.schemas.config import Job
from millrace.udfs.engine.fault_script import VARIABLE
from tests.helpers import columns_mlp, images, job_of

pytestmark = pytest.mark.spark
ROWS, REFUSED, BATCH = 400, 40, 25
IDX = {"index": {"type": "bigint"}, "pixels": {"type": "binary", "nullable": False}}
NUMBERS = {"id": {"type": "bigint", "nullable": False}, "size": {"type": "double"}}
NO_NEGATIVES = [{"name": "size", "holds": "size >= 0"}]
LAST = {"idx": 255.0}  # what the model gets of the last row's first pixel
LAST |= dict.fromkeys(("parquet", "csv", "delta"), ROWS - 1.0)


def one_file(kind: str, tmp: Path, mlp: Path, pixels: Path) -> Job:
    """A job over one file, whose contract refuses a tenth of the rows."""
    made: dict[str, Any] = {
        "engine": {"batch": BATCH, "backend": "torch", "precision": "fp32"},
        "contract": {"columns": NUMBERS, "rules": NO_NEGATIVES, "max_quarantined": 1.0},
    }
    numbers = [float(n) if n % 10 else -1.0 for n in range(ROWS)]
    table = pa.table({"id": pa.array(range(ROWS)), "size": pa.array(numbers)})
    (tmp / "input").mkdir()
    if kind == "parquet":
        pq.write_table(table, tmp / "input" / "all.parquet", row_group_size=ROWS)
    elif kind == "csv":
        pa.csv.write_csv(table, tmp / "input" / "all.csv")
    elif kind == "delta":
        write_deltalake(str(tmp / "input"), table)
    else:
        path = tmp / "images.gz"
        every = [
            b"\0" * 16 if n % 10 == 0 else b"\1" + one[1:] for n, one in enumerate(images(ROWS))
        ]
        every[-1] = b"\xff" * 16
        header = struct.pack(">BBBBIII", 0, 0, 8, 3, ROWS, 4, 4)
        path.write_bytes(gzip.compress(header + b"".join(every), 1))
        dark = [{"name": "dark", "holds": "hex(pixels) != '00000000000000000000000000000000'"}]
        made["contract"] = {"columns": IDX, "rules": dark, "max_quarantined": 1.0}
        made |= {"source": {"format": "idx", "path": str(path)}, "key": ["index"]}
        return job_of(tmp, pixels, **made)
    source = {"format": kind, "path": str(tmp / "input")}
    return job_of(tmp, mlp, source=source, **made)


@pytest.fixture(scope="module")
def mlp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return columns_mlp(tmp_path_factory.mktemp("numbers"), size="double")


@pytest.fixture
def held(spark: SparkSession, tmp_path: Path, kind: str) -> Iterator[Path]:
    """The call that has the last row waits until this file is there."""
    released, script = tmp_path / "go", tmp_path / "script.json"
    rule = {"action": "wait", "when": [0, LAST[kind]], "until": str(released), "seconds": 30}
    script.write_text(json.dumps({"predict": {"rules": [rule]}}))
    spark.sparkContext.environment[VARIABLE] = str(script)
    yield released
    del spark.sparkContext.environment[VARIABLE]


@pytest.mark.parametrize("kind", ["parquet", "csv", "idx", "delta"])
def test_rows_are_shown_while_one_file_is_scored(
    kind: str,
    spark: SparkSession,
    tmp_path: Path,
    mlp: Path,
    model: Path,
    held: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[dict[str, Any]] = []

    def written(event: str, message: str, **facts: Any) -> None:
        seen.append({"event": event, "message": message, **facts})
        if event == "progress" and 0 < facts.get("rows", 0) < ROWS:
            held.touch()

    monkeypatch.setattr(structured_log, "write", written)
    monkeypatch.setattr(progress, "_REFRESH_S", 0.05)

    summary = run(spark, one_file(kind, tmp_path, mlp, model), Progress(as_json=True, every_s=0.0))

    assert (summary.scored, summary.quarantined) == (ROWS - REFUSED, REFUSED)
    shown = [one["rows"] for one in seen if one["event"] == "progress" and "rows" in one]
    assert shown == sorted(shown)
    assert any(0 < rows < ROWS for rows in shown)
    assert max(shown) <= ROWS
    (scored,) = [
        one for one in seen if one["message"].startswith("scoring") and one["event"] == "step"
    ]
    is_read_apart = kind in ("csv", "idx")
    assert (scored["rows"], scored["rows_read"]) == (ROWS, ROWS if is_read_apart else None)
    assert not list((tmp_path / "lake").rglob("rows-*"))
