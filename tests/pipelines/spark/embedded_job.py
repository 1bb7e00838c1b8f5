"""A job over every column type that the embedded engine takes: rules of each kind refuse some of its rows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from millrace.pipelines.spark import connect
from millrace.schemas.config import Job
from tests.chaos.driven import table
from tests.conformance import rule_expressions
from tests.helpers import images, job_of, write_parquet
from tests.pipelines.validation.test_quarantine_rows import plain

ROWS, FILES = 400, 4
APART = {"run_id", "scored_at", "_meter", "quarantined_at", "at"}  # no two runs have the same
RULES = [
    {"name": "small", "holds": "i < 1000000", "on_null": "pass"},
    {"name": "known", "holds": "s IN ('ham', 'spam', 'abc', 'é', '') OR length(s) > 2"},
    {"name": "positive", "holds": "d > 0", "severity": "warn"},
    {"name": "flagged", "holds": "o", "severity": "warn", "on_null": "pass"},
    {"name": "short", "holds": "octet_length(b) < 100", "on_null": "pass"},
    {
        "name": "ordered",
        "holds": "CASE WHEN i > 0 THEN l > -5 ELSE trim(s) <> 'x' END",
        "mostly": 0.1,
    },
]


EXPECTATIONS: list[dict[str, Any]] = [
    {"expect": "ExpectTableRowCountToBeBetween", "min_value": 1, "max_value": 1000},
    {"expect": "ExpectTableRowCountToEqual", "value": 7},
    *({"expect": "ExpectColumnValuesToNotBeNull", "column": c, "mostly": 0.99} for c in "ildsbo"),
    {"expect": "ExpectColumnValuesToNotBeNull", "column": "n"},
    *({"expect": "ExpectColumnValuesToBeNull", "column": c, "mostly": 0.05} for c in "ildsbo"),
    {
        "expect": "ExpectColumnValuesToBeInSet",
        "column": "i",
        "value_set": [0, 1, -1, 7],
        "mostly": 0.1,
    },
    {"expect": "ExpectColumnValuesToBeInSet", "column": "l", "value_set": [0, 2**53, 2**63 - 1]},
    {"expect": "ExpectColumnValuesToBeInSet", "column": "d", "value_set": [0.0, 0.1, 2.5]},
    {"expect": "ExpectColumnValuesToBeInSet", "column": "s", "value_set": ["ham", "é", "", "😀"]},
    {"expect": "ExpectColumnValuesToBeInSet", "column": "o", "value_set": [True]},
    {"expect": "ExpectColumnValuesToNotBeInSet", "column": "i", "value_set": [0, 2**31 - 1]},
    {"expect": "ExpectColumnValuesToNotBeInSet", "column": "d", "value_set": [0.0, 1e300]},
    {"expect": "ExpectColumnValuesToNotBeInSet", "column": "s", "value_set": ["spam", " "]},
    {"expect": "ExpectColumnValuesToBeBetween", "column": "i", "min_value": -1, "max_value": 42},
    {"expect": "ExpectColumnValuesToBeBetween", "column": "l", "min_value": 0, "strict_min": True},
    {"expect": "ExpectColumnValuesToBeBetween", "column": "d", "min_value": -1.5, "max_value": 0.1},
    {
        "expect": "ExpectColumnValuesToBeBetween",
        "column": "d",
        "max_value": 2.5,
        "strict_max": True,
    },
    {
        "expect": "ExpectColumnValueLengthsToBeBetween",
        "column": "s",
        "min_value": 1,
        "max_value": 3,
    },
    {"expect": "ExpectColumnValueLengthsToEqual", "column": "s", "value": 3, "mostly": 0.2},
    *({"expect": "ExpectColumnValuesToBeUnique", "column": c, "mostly": 0.5} for c in "nilds"),
]


def job(folder: Path, model: Path, **run: Any) -> Job:
    """The job; its input is written below ``folder``."""
    made = rule_expressions.rows(ROWS, seed=3).drop_columns(["j", "m", "e", "t"])
    made = made.append_column("pixels", pa.array(images(ROWS), pa.binary()))
    write_parquet(folder / "input", made, files=FILES)
    kinds = {"i": "int", "l": "bigint", "d": "double", "s": "string", "b": "binary", "o": "boolean"}
    columns: dict[str, Any] = {name: {"type": kind} for name, kind in kinds.items()}
    columns |= {"n": {"type": "bigint", "nullable": False, "unique": True}}
    columns |= {"pixels": {"type": "binary", "nullable": False}}
    return job_of(
        folder, model, key=["n", "s"], keep=["i", "l", "d", "b", "o"],
        contract={
            "columns": columns, "rules": RULES, "max_quarantined": 1.0, "redact": ["b"],
            "expectations": [{"severity": "warning", **one} for one in EXPECTATIONS],
        },
        engine={"backend": "torch", "precision": "fp32"}, run=run,
    )  # fmt: skip


def write_job(job: Job, path: Path) -> Path:
    """The job as a file."""
    path.write_text(
        yaml.safe_dump(job.model_dump(mode="json", exclude_unset=True), sort_keys=False), "utf-8"
    )
    return path


ENVIRONMENT = {
    name: value for name, value in os.environ.items() if name not in (connect.REMOTE, "MASTER")
}


def millrace(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, without the Spark that tests have."""
    return subprocess.run(
        [sys.executable, "-m", "millrace.pipelines.cli", *arguments],
        capture_output=True, text=True, check=False, timeout=240, env=ENVIRONMENT | more,
    )  # fmt: skip


def different_tables(one: Job, other: Job, keys: dict[str, str]) -> dict[str, list[Any]]:
    """By table, the rows that two jobs have written differently; ``keys`` has a column to order each by."""
    found = {}
    for name, key in keys.items():
        rows = [_rows_of(Path(job.output.path), name, key) for job in (one, other)]
        if name == "quarantine":
            rows = [[plain(row) for row in some] for some in rows]
        if apart := [pair for pair in zip(*rows, strict=True) if pair[0] != pair[1]]:
            found[name] = apart[:3]
    return found


def _rows_of(lake: Path, name: str, key: str) -> list[dict[str, Any]]:
    """A table's rows in order, as texts: NaN is equal to NaN, and 0.0 is not -0.0."""
    found = [
        {column: value for column, value in row.items() if column not in APART}
        for row in sorted(
            table(lake, name), key=lambda row: (str(row[key]), str(row.get("reasons")))
        )
    ]
    return [
        {
            k: v if isinstance(v, list | str) and name == "quarantine" else repr(v)
            for k, v in row.items()
        }
        for row in found
    ]
