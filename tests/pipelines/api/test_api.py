"""The Python API against the commands: the same jobs, overrides, totals and errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from pyspark.sql import SparkSession

import millrace
from millrace.pipelines.api.overrides import merged
from millrace.schemas.yaml_file import values_set
from tests.helpers import image_table, images, job_of, write_parquet

JOB = """
name: tiny
source: {format: parquet, path: input}
key: [id]
contract:
  columns:
    id: {type: bigint, nullable: false}
    pixels: {type: binary, nullable: false}
model: {uri: model}
engine: {backend: torch, precision: fp32}
output: {path: lake}
"""
_KEYS = st.text("abcdefgh_.= ", min_size=1, max_size=5)
_LEAVES = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers())
_TREES = st.dictionaries(
    _KEYS,
    st.recursive(
        _LEAVES, lambda below: st.dictionaries(_KEYS, below, min_size=1, max_size=3), max_leaves=5
    ),
    max_size=4,
)


def test_the_package_has_what_it_says_it_has_and_loads_nothing_before() -> None:
    code = (
        "import sys, millrace; before = set(sys.modules);"
        "assert not {'pyspark', 'pyarrow', 'torch', 'pydantic'} & before, before;"
        "assert set(millrace.__all__) <= set(dir(millrace));"
        "[getattr(millrace, name) for name in millrace.__all__];"
        "from millrace.errors import MillraceError; assert millrace.errors.MillraceError is MillraceError;"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    with pytest.raises(AttributeError, match="no attribute 'runn'"):
        millrace.runn  # noqa: B018 - the access is what is tested


@examples(max_examples=40)
@given(_TREES)
def test_overrides_set_what_they_say_whatever_their_keys_and_values_hold(
    tree: dict[str, Any],
) -> None:
    assert values_set(tree) == tree


@examples(max_examples=40)
@given(_TREES, _TREES)
def test_merged_changes_what_it_is_given_and_nothing_else(
    tree: dict[str, Any], changes: dict[str, Any]
) -> None:
    before = repr(tree)

    found = merged(tree, changes)

    assert repr(tree) == before
    assert merged(found, changes) == found
    assert all(found[key] == tree[key] for key in tree.keys() - changes.keys())
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(tree.get(key), dict):
            assert found[key] == merged(tree[key], value)
        else:
            assert found[key] == value


def test_a_job_is_loaded_changed_or_built(tmp_path: Path, model: Path) -> None:
    (tmp_path / "job.yaml").write_text(JOB)

    loaded = millrace.load_job(tmp_path / "job.yaml", engine={"batch": 7}, output={"path": "here"})

    assert (loaded.engine.batch, loaded.engine.backend) == (7, "torch")
    assert loaded.output.path == "here"  # an override's path starts at the working directory
    assert Path(loaded.source.path) == tmp_path / "input"  # a file's at its folder
    dotted = {"columns": {"a.b": {"type": "string", "nullable": False}}}
    columns = millrace.load_job(tmp_path / "job.yaml", contract=dotted).contract.columns
    assert (list(columns), columns["a.b"].nullable) == (["id", "pixels", "a.b"], False)
    text = millrace.load_job(tmp_path / "job.yaml", output={"path": tmp_path / "012"})
    assert text.output.path == str(tmp_path / "012")
    assert millrace.Job.model_validate(loaded.model_dump(by_alias=True)) == loaded
    with pytest.raises(millrace.errors.JobFileError, match="engine.batch"):
        millrace.load_job(tmp_path / "job.yaml", engine={"batch": -1})
    with pytest.raises(millrace.errors.JobFileError, match="engin: Extra inputs"):
        millrace.preflight(job_of(tmp_path, model), engin={"batch": 7})
    with pytest.raises(millrace.errors.UsageError, match="no such file"):
        millrace.load_job(tmp_path / "absent.yaml")


def log_folder(spark: SparkSession) -> Path:
    """Where the shared session writes its event logs."""
    return Path(spark.conf.get("spark.eventLog.dir").removeprefix("file://"))


@pytest.mark.spark
def test_a_run_a_verdict_and_a_lake_are_values(
    spark: SparkSession, tmp_path: Path, model: Path
) -> None:
    write_parquet(tmp_path / "input", image_table(images(20)), files=2)
    job, events = job_of(tmp_path, model), list[millrace.ProgressEvent]()
    about = millrace.preflight(job)

    with pytest.raises(millrace.errors.UsageError, match="session is active"):
        millrace.run(job)
    verdict = millrace.validate(job, spark=spark)
    summary = millrace.run(job, spark=spark, on_progress=events.append)
    repeated = millrace.run(job, spark=spark)
    fresh = millrace.run(job, spark=spark, fresh=True, engine={"batch": 3})

    assert (about["job"], about["table"]) == ("tiny", "predictions_tiny")
    assert (verdict.rows, verdict.quarantined, verdict.refusals) == (20, 0, [])
    assert (summary.rows_read, summary.scored, summary.state) == (20, 20, "done")
    assert repeated.run_id == summary.run_id
    assert fresh.run_id != summary.run_id
    assert {"run", "step", "unit"} <= {event.event for event in events}
    assert [e.facts["run_id"] for e in events if e.event == "unit"] == [summary.run_id]

    lake = millrace.read(tmp_path / "lake")
    assert [run["run_id"] for run in lake.runs().to_pylist()] == [fresh.run_id, summary.run_id]
    table = lake.predictions("tiny")
    assert sorted(table["id"].to_pylist()) == sorted([*range(20), *range(20)])
    assert pl.from_arrow(table).height == table.to_pandas().shape[0] == 40
    assert lake.sql("SELECT count(*) AS n FROM predictions_tiny")["n"].to_pylist() == [40]
    assert lake.report(summary.run_id).read_text().startswith("<!doctype html>")
    assert lake.report().name.startswith(fresh.run_id)
    assert summary.run_id in lake._repr_html_()
    assert "<td>20</td>" in summary._repr_html_()
    assert "the gate opens" in verdict._repr_html_()
    assert lake.run(summary.run_id)["cost"] == str(summary.cost)
    pages = lake.report_pages(summary.run_id)
    assert (pages.run_id, pages.report.is_file(), pages.index.is_file()) == (
        summary.run_id, True, True,
    )  # fmt: skip
    repriced = lake.reprice(summary.run_id, "gpu", instance="g6.xlarge", dry_run=True)
    assert repriced.before == {"USD": summary.cost}
    assert repriced.difference["USD"] == repriced.after["USD"] - repriced.before["USD"]
    exported = lake.export_focus(tmp_path / "focus", summary.run_id)
    assert exported.cost == {"USD": summary.cost}
    assert {path.name for path in exported.files} == {
        "cost_and_usage.csv", "cost_and_usage.parquet", "metadata.json",
    }  # fmt: skip
    rebuilt = lake.rebuild_ledger(summary.run_id, log_folder(spark))
    rebuilt.check()
    assert (rebuilt.written, rebuilt.same > 0) == (0, True)
    vacuumed = lake.vacuum(remove=True)
    assert (vacuumed.failed, vacuumed.is_removed) == ({}, True)
    assert {one.kind for one in vacuumed.found} <= {"claim"}
    with pytest.raises(millrace.errors.UsageError, match="allowed: tiny"):
        lake.predictions("tinny")
    with pytest.raises(millrace.errors.QueryError):
        lake.sql("DROP TABLE runs")
    with pytest.raises(millrace.errors.UsageError, match="no lake"):
        millrace.read(tmp_path / "absent")


@pytest.mark.spark
def test_a_gate_that_stays_shut_is_a_value_for_validate_and_an_exception_for_run(
    spark: SparkSession, tmp_path: Path, model: Path
) -> None:
    write_parquet(tmp_path / "input", image_table(images(4)))
    job = job_of(tmp_path, model)
    strict = {"rules": [{"name": "early", "holds": "id < 3"}], "max_quarantined": 0}

    verdict = millrace.validate(job, spark=spark, contract=strict)
    with pytest.raises(millrace.errors.GateRefused, match="1 of 4 rows"):
        millrace.run(job, spark=spark, contract=strict)
    summary = millrace.run(job, spark=spark, contract={**strict, "max_quarantined": 0.5})
    replayed = millrace.replay(summary.run_id[:-2], job, spark=spark)

    assert verdict.quarantined == 1
    assert "early" in verdict.refusals[0]
    assert (summary.scored, summary.quarantined) == (3, 1)
    assert (replayed.scored, replayed.quarantined) == (1, 0)
    assert sorted(millrace.read(tmp_path / "lake").predictions("tiny")["id"].to_pylist()) == [
        0,
        1,
        2,
        3,
    ]
