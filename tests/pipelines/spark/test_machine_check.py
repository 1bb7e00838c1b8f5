"""A device, a backend or a column that a job names wrongly is refused before a JVM starts: exit code 2."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from millrace.pipelines.job.preflight import checked
from millrace.pipelines.spark import machine_check, places
from millrace.pipelines.spark.job_session import passing_session, session_for
from millrace.schemas.config import Engine, Job, RunSettings
from millrace.schemas.errors import MillraceError, SchemaMismatch, UsageError
from millrace.udfs.backends import hardware
from tests.helpers import image_table, images, job_of, write_parquet

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def job(tmp_path: Path, model: Path) -> Job:
    table = image_table(images(4)).append_column("price", pa.array([1.5] * 4))
    write_parquet(tmp_path / "input", table)
    return job_of(tmp_path, model)


def with_engine(job: Job, **settings: Any) -> Job:
    return job.model_copy(update={"engine": Engine(**settings)})


@pytest.mark.skipif(hardware.has_cuda(), reason="this machine has a GPU")
def test_cuda_without_a_gpu_is_refused_at_preflight_and_before_spark_starts(job: Job) -> None:
    asked = with_engine(job, device="cuda")
    with pytest.raises(UsageError, match="asks for CUDA and this machine has none") as told:
        checked(asked, NOW)
    assert told.value.exit_code == 2

    began = time.monotonic()
    with pytest.raises(UsageError, match="asks for CUDA"):
        session_for(asked, master="local[2,4]").__enter__()
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("variables", "master"),
    [({"SPARK_REMOTE": "sc://node:15002"}, None), ({"MASTER": "spark://node:7077"}, None),
     ({"PYSPARK_GATEWAY_PORT": "1"}, None), ({}, "local-cluster[2,1,1024]")],
)  # fmt: skip
def test_workers_elsewhere_may_have_what_this_machine_lacks(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], master: str | None
) -> None:
    assert machine_check.computes_here("local[2,4]")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert not machine_check.computes_here(master)


@pytest.mark.skipif(hardware.has_package("vllm"), reason="vllm is installed")
def test_a_backend_whose_package_is_not_installed_is_refused_with_the_extra() -> None:
    with pytest.raises(UsageError, match="its package is not installed") as told:
        machine_check.check_machine(Engine(backend="vllm"))
    assert "millrace[vllm]" in (told.value.next or "")


def test_a_backend_that_cannot_read_the_model_is_refused(job: Job) -> None:
    with pytest.raises(UsageError, match="cannot be computed with vllm") as told:
        checked(with_engine(job, backend="vllm"), NOW)
    assert told.value.allowed == "auto, torch, torch_compile, onnxruntime, openvino"
    for backend in ("torch", "auto"):
        checked(with_engine(job, backend=backend), NOW)


@pytest.mark.parametrize(
    ("changes", "kind", "told"),
    [
        ({"keep": ["prize"]}, UsageError, "no such column to keep: prize; did you mean 'price'"),
        ({"monitor": {"outputs": {"ranges": {"scor": [0, 1]}}}}, UsageError, "monitor.outputs.ranges names"),
        ({"contract": {"columns": {"id": {"type": "bigint"}, "pixels": {"type": "binary"},
                                   "prise": {"type": "double"}}}}, SchemaMismatch, "not those that the contract declares"),
    ],
)  # fmt: skip
def test_a_column_that_is_not_there_is_told_at_preflight(
    job: Job, changes: dict[str, Any], kind: type[MillraceError], told: str
) -> None:
    wrong = Job.model_validate({**job.model_dump(mode="json", exclude_unset=True), **changes})
    with pytest.raises(kind, match=told):
        checked(wrong, NOW)


def test_a_kept_column_of_a_delta_table_is_looked_for_without_spark(
    job: Job, tmp_path: Path
) -> None:
    from deltalake import write_deltalake

    table = image_table(images(4)).append_column("price", pa.array([1.5] * 4))
    write_deltalake(str(tmp_path / "delta"), table)
    source = {"source": {"format": "delta", "path": str(tmp_path / "delta")}}
    parts = job.model_dump(mode="json", exclude_unset=True) | source

    assert checked(Job.model_validate(parts | {"keep": ["price"]}), NOW)["job"] == "tiny"
    with pytest.raises(UsageError, match="no such column to keep: prize; did you mean 'price'"):
        checked(Job.model_validate(parts | {"keep": ["prize"]}), NOW)


def test_without_java_a_job_for_spark_is_refused_before_anything_starts_and_another_is_not(
    job: Job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("JAVA_HOME", "MASTER", "SPARK_REMOTE", "PYSPARK_GATEWAY_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))  # as where no Java is installed

    assert checked(job, NOW)["place"] == "embedded"
    in_spark = job.model_copy(update={"run": RunSettings(place="local")})
    for call in (
        lambda: checked(in_spark, NOW),
        lambda: session_for(in_spark).__enter__(),
        lambda: session_for(places.in_spark(job)).__enter__(),  # of a plan
        lambda: passing_session("sql").__enter__(),
    ):
        with pytest.raises(UsageError, match="Spark needs Java") as refused:
            call()
        assert refused.value.got == "no program java"
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))
    with pytest.raises(UsageError, match="Spark needs Java") as refused:
        checked(in_spark, NOW)
    assert refused.value.got == f"no program {tmp_path}/jdk/bin/java"
