"""A job in the embedded engine: the tables that Spark gives, books that close, and jobs that it does not take."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from millrace.pipelines.console.progress import Progress
from millrace.pipelines.run.runner import run
from millrace.pipelines.spark import connect, places
from millrace.schemas.config import Job
from millrace.schemas.errors import UsageError
from tests.helpers import job_of
from tests.pipelines.spark.embedded_job import (
    ENVIRONMENT,
    EXPECTATIONS,
    ROWS,
    different_tables,
    job,
    millrace,
    write_job,
)

pytestmark = pytest.mark.spark


def test_every_table_has_what_spark_writes_and_the_books_close(
    spark: SparkSession, model: Path, tmp_path: Path
) -> None:
    for place in ("jvm", "embedded"):
        (tmp_path / place).mkdir()
    in_spark = job(tmp_path / "jvm", model)
    embedded = job(tmp_path / "embedded", model, place="embedded")
    file = write_job(embedded, tmp_path / "job.yaml")

    one = run(spark, in_spark, Progress(quiet=True))
    told = millrace("run", str(file), "--json")
    other = (
        json.loads(told.stdout) if told.returncode == 0 else pytest.fail(told.stdout + told.stderr)
    )

    counts = ("scored", "quarantined", "failed", "rows_read")
    assert [other[name] for name in counts] == [getattr(one, name) for name in counts]
    assert 0 < other["quarantined"] < ROWS
    assert other["books_closed"] is True
    assert other["ledger_coverage"] > 0.95
    assert [gate["passed"] for gate in other["gates"]] == [True] * 6
    keys = {embedded.table: "n", "quarantine": "key", "validations": "rule"}
    assert not different_tables(embedded, in_spark, keys)
    again = millrace("run", str(file), "--json")
    assert json.loads(again.stdout)["done_before"] is not None


def test_the_job_that_is_compared_has_every_expectation_that_is_allowed() -> None:
    assert {one["expect"] for one in EXPECTATIONS} == places.EXPECTATIONS


@pytest.mark.slow
def test_one_process_runs_jobs_in_one_place_after_the_other(model: Path, tmp_path: Path) -> None:
    for place in ("embedded", "local"):
        (tmp_path / place).mkdir()
        write_job(job(tmp_path / place, model, place=place), tmp_path / f"{place}.yaml")
    script = f"""
import millrace
for place, fresh in (("embedded", False), ("local", False), ("embedded", True)):
    print(millrace.run(f"{tmp_path}/{{place}}.yaml", fresh=fresh).scored)
"""
    told = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True, text=True, check=False, timeout=280, env=ENVIRONMENT,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr[-3000:]
    first, second, third = map(int, told.stdout.split())
    assert 0 < first == second == third


COLUMNS = {"id": {"type": "bigint", "nullable": False}, "pixels": {"type": "binary"}}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"source": {"format": "delta", "path": "in"}}, "source.format delta"),
        ({"engine": {"surface": "pandas"}}, "engine.surface pandas"),
        ({"engine": {"dedupe": "unit"}}, "engine.dedupe or engine.cache"),
        ({"run": {"batch_timeout_s": 3.0}}, "run.batch_timeout_s"),
        ({"monitor": {}}, "monitor"),
        (
            {"contract": {"columns": COLUMNS, "rules": [{"name": "corner", "holds": "substr(pixels, 1, 1) IS NULL"}]}},
            "rule corner uses",
        ),
        (
            {"contract": {"columns": COLUMNS, "expectations": [{"expect": "ExpectColumnMaxToBeBetween", "column": "id", "min_value": 1}]}},
            "ExpectColumnMaxToBeBetween",
        ),
        ({"contract": {"columns": COLUMNS | {"day": {"type": "date"}}}}, "column day of type date"),
        ({"contract": {"columns": COLUMNS | {"a": {"type": "string", "from": "A b"}}}}, "column a read from"),
        ({"contract": {"columns": COLUMNS | {"x": {"type": "double", "unique": True}}}}, "column x of type double"),
    ],
)  # fmt: skip
def test_a_job_that_is_not_known_to_be_equal_is_refused_with_the_part_that_is_not(
    changes: dict[str, Any], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (connect.REMOTE, "MASTER", "PYSPARK_GATEWAY_PORT"):
        monkeypatch.delenv(name, raising=False)
    plain_job = job_of(tmp_path, tmp_path / "model").model_dump(mode="json", exclude_unset=True)
    assert not list(places.why_not(Job.model_validate(plain_job)))
    changed = {**plain_job, **changes}
    changed["run"] = {**changed.get("run", {}), "place": "embedded"}
    made = Job.model_validate(changed)

    assert [why for why in places.why_not(made) if why.startswith(reason)]
    with pytest.raises(UsageError, match=re.escape(reason)) as raised:
        places.of(made)
    assert raised.value.next == "set run.place to local or auto"


def test_a_place_and_an_environment_that_names_another_are_refused_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (connect.REMOTE, "MASTER", "PYSPARK_GATEWAY_PORT"):
        monkeypatch.delenv(name, raising=False)
    made = {place: job_of(tmp_path, tmp_path / "m", run={"place": place}) for place in ("auto", "local", "embedded", "connect")}  # fmt: skip
    found = {place: places.of(made[place]) for place in ("auto", "local", "embedded")}
    assert [place for place, one in found.items() if one.is_embedded] == ["auto", "embedded"]
    assert {one.why for one in found.values()} == {None}
    with pytest.raises(UsageError, match="no server is named"):
        places.of(made["connect"])
    monkeypatch.setenv(connect.REMOTE, "sc://127.0.0.1:1")
    assert places.of(made["auto"]) == (False, None)
    assert not places.of(made["connect"]).is_embedded
    for place in ("local", "embedded"):
        with pytest.raises(UsageError, match="names another Spark"):
            places.of(made[place])
    monkeypatch.delenv(connect.REMOTE)
    with pytest.raises(UsageError, match=r"master local\[2\]"):
        places.of(made["embedded"], "local[2]")
