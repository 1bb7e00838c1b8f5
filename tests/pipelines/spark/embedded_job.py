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
from tests.conformance import rule_expressions
from tests.helpers import images, job_of, write_parquet

ROWS, FILES = 400, 4
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
            "expectations": [
                {"expect": "ExpectTableRowCountToBeBetween", "min_value": 1, "max_value": 1000}
            ],
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
