"""A project that moved to another folder asks of its input what it asked before."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from millrace.pipelines.job.prepared_job import prepare
from millrace.schemas.job_file import load_job
from tests.helpers import columns_mlp, write_parquet

JOB = """
name: tiny
paths: job
source: {format: parquet, path: input}
key: [id]
contract:
  columns:
    id: {type: bigint, nullable: false, references: {path: known, column: id}}
    size: {type: double}
model: {uri: model}
output: {path: lake}
"""


@pytest.mark.spark
def test_a_contract_and_its_rules_are_the_same_in_another_folder_and_another_table_is_not(
    spark: SparkSession, tmp_path: Path
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    (here / "job.yaml").write_text(JOB)
    columns_mlp(here / "model", size="double")
    write_parquet(here / "input", pa.table({"id": [1, 2], "size": [0.5, 1.5]}))
    write_parquet(here / "known", pa.table({"id": [1, 2, 3]}))
    shutil.copytree(here, there)  # with the files' times

    first, moved = (prepare(spark, load_job(one / "job.yaml")) for one in (here, there))
    write_parquet(there / "known", pa.table({"id": [1, 2, 3, 4]}))
    other = prepare(spark, load_job(there / "job.yaml"))

    assert first.contract.facts == moved.contract.facts
    assert [r.fingerprint for r in first.rules] == [r.fingerprint for r in moved.rules]
    assert other.fingerprint != moved.fingerprint
