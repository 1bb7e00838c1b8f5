"""Text and idx files in the embedded engine: the rows, the malformed records and the tables that Spark gives."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from millrace.pipelines.console.progress import Progress
from millrace.pipelines.run.runner import run
from millrace.schemas.config import Job
from tests.helpers import columns_mlp, images, into, job_of, pixel_mlp
from tests.pipelines.spark.embedded_job import different_tables, millrace, write_job

pytestmark = pytest.mark.spark
ROWS = 200
TYPES = {"n": "bigint", "i": "int", "d": "double", "s": "string", "o": "boolean"}
TEXTS = ["ham", "", "a, b", 'say "no"', "two\nlines", "é😀", " x ", "NULL", "1e3"]
NUMBERS = ["0", "-1.5", "1e300", "NaN", "", "many", "-0.0", "0.1", "123456.789", "inf"]


def cells(draw: random.Random, n: int) -> list[str]:
    """One record: some cells do not parse, are not there, or repeat a key."""
    return [
        str(n if draw.random() < 0.95 else n // 2),
        draw.choice(["1", "-7", "", "2147483648", "3.5", "x"] + ["5"] * 8),
        draw.choice(NUMBERS + ["2.5"] * 8),
        draw.choice(TEXTS),
        draw.choice(["true", "false", "TRUE", "", "1", "yes"]),
    ]


def csv(folder: Path, draw: random.Random) -> dict[str, Any]:
    folder.mkdir()
    for part in range(3):
        lines = ["n,i,d,s,o"]
        for n in range(part * ROWS, (part + 1) * ROWS):
            quoted = [cell if cell.isalnum() else '"' + cell.replace('"', '""') + '"' for cell in cells(draw, n)]  # fmt: skip
            # Some records are short.
            lines.append(",".join(quoted[: 4 if draw.random() < 0.03 else 5]))
        (folder / f"{part}.csv").write_text("\n".join(lines) + "\n", "utf-8")
    return {"format": "csv", "path": str(folder), "header": True}


def jsonl(folder: Path, draw: random.Random) -> dict[str, Any]:
    folder.mkdir()
    for part in range(2):
        lines = []
        for n in range(part * ROWS, (part + 1) * ROWS):
            values = [n, draw.choice([1, -7, None, 2**31, 3.5, "x"]), draw.choice([0.1, -0.0, 1e300, None, 7]),
                      draw.choice(TEXTS), draw.choice([True, False, None])]  # fmt: skip
            line = json.dumps(dict(zip(TYPES, values, strict=True)))
            lines.append(line[: draw.randrange(len(line))] if draw.random() < 0.03 else line)
        (folder / f"{part}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    return {"format": "json", "path": str(folder)}


def tabular(make: Callable[[Path, random.Random], dict[str, Any]], folder: Path) -> Job:
    """A job over generated records."""
    source = make(folder / "input", random.Random(7))
    columns: dict[str, Any] = {name: {"type": kind} for name, kind in TYPES.items()}
    columns["n"] |= {"nullable": False, "unique": True}
    rules = [
        {"name": "small", "holds": "i < 1000", "on_null": "pass"},
        {"name": "known", "holds": "s <> 'NULL'"},
        {"name": "finite", "holds": "d < 1e200", "severity": "warn"},
    ]
    model = columns_mlp(folder / "model", i="int", d="double")
    return job_of(
        folder, model, source=source, key=["n"], keep=["s", "o"],
        contract={"columns": columns, "rules": rules, "max_quarantined": 1.0},
        engine={"backend": "torch", "precision": "fp32", "batch": 1}, run={"max_failed": 1.0},
    )  # fmt: skip


def idx(folder: Path) -> Job:
    """A job over an idx file, which several tasks share."""
    pixels = images(3000)
    content = bytes([0, 0, 8, 2]) + struct.pack(">2I", len(pixels), 16) + b"".join(pixels)
    (folder / "images.idx").write_bytes(content)
    return job_of(
        folder, pixel_mlp(folder / "model"),
        source={"format": "idx", "path": str(folder / "images.idx")}, key=["index"],
        contract={
            "columns": {
                "index": {"type": "bigint", "nullable": False, "unique": True},
                "pixels": {"type": "binary", "nullable": False},
            },
            "rules": [{"name": "dark", "holds": "endswith(hex(pixels), '0')", "severity": "warn"}],
            "max_quarantined": 1.0,
        },
        engine={"backend": "torch", "precision": "fp32"},
    )  # fmt: skip


JOBS = {
    "csv": lambda folder: tabular(csv, folder),
    "json": lambda folder: tabular(jsonl, folder),
    "idx": idx,
}


@pytest.mark.parametrize(
    ("kind", "redact"), [("csv", []), ("csv", ["s"]), ("idx", []), ("json", [])]
)
def test_tables_have_the_rows_that_spark_writes(
    kind: str, redact: list[str], spark: SparkSession, tmp_path: Path
) -> None:
    made = JOBS[kind](tmp_path)
    made = Job.model_validate({**made.model_dump(mode="json", exclude_unset=True), "contract": {
        **made.contract.model_dump(mode="json", exclude_unset=True), "redact": redact}})  # fmt: skip
    in_spark = into(made, tmp_path / "other")

    one = run(spark, in_spark, Progress(quiet=True))
    done = millrace("run", str(write_job(made, tmp_path / "job.yaml")), "--json")

    assert done.returncode == 0, done.stdout + done.stderr
    other = json.loads(done.stdout)
    counts = ("scored", "quarantined", "failed", "rows_read")
    assert [other[name] for name in counts] == [getattr(one, name) for name in counts]
    assert other["scored"] > 0
    assert kind == "idx" or other["quarantined"] > ROWS / 10
    assert [gate["passed"] for gate in other["gates"]] == [True] * 6
    assert list((Path(made.output.path) / "_logs").glob("embedded-*"))  # it ran there
    keys = {made.table: made.key[0], "quarantine": "key", "validations": "rule"}
    assert not different_tables(made, in_spark, keys)
