"""Executors of their own JVMs, in Spark's local cluster and under a master with two workers: faults there."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pyspark
import pytest

from schemas.config import Job
from tests.chaos.driven import KILL, Driven, scored_rows, send, start, table, violations
from tests.helpers import columns_mlp, image_table, images, job_of, pixel_mlp, write_parquet

pytestmark = [pytest.mark.spark, pytest.mark.faults]
ROWS, FILES = 60, 6
EXECUTOR = "CoarseGrainedExecutorBackend"
RAISE, SEGV = 253, 255  # first pixels that the script knows


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pixel_mlp(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def standalone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Spark's own master, and two workers of one core each, on loopback."""
    folder = tmp_path_factory.mktemp("standalone")
    port = _free_port()
    url = f"spark://127.0.0.1:{port}"
    started = [
        _spark_class(
            folder, "master", "--host", "127.0.0.1", "--port", str(port), "--webui-port", "0"
        )
    ]
    try:
        _wait_for(lambda: _listens(port))
        worker = ("--host", "127.0.0.1", "--webui-port", "0", "-c", "1", "-m", "1g")
        started += [
            _spark_class(folder, f"worker-{number}", *worker, "-d", str(folder / f"{number}"), url)
            for number in range(2)
        ]
        log = folder / "master.log"
        _wait_for(lambda: log.read_text("utf-8").count("Registering worker") == 2)
        yield url
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            process.wait(30)


def _spark_class(folder: Path, name: str, *arguments: str) -> subprocess.Popen[bytes]:
    home = Path(pyspark.__file__).parent
    role = name.partition("-")[0]
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            [home / "bin/spark-class", f"org.apache.spark.deploy.{role}.{role.title()}", *arguments],
            stdout=log, stderr=subprocess.STDOUT,
            env={**os.environ, "SPARK_HOME": str(home), "PYSPARK_PYTHON": sys.executable},
        )  # fmt: skip


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _wait_for(happens: Callable[[], bool], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.1)


@pytest.fixture(params=["local[2,4]", "local-cluster[2,1,1024]", "standalone"])
def master(request: pytest.FixtureRequest) -> str:
    if request.param == "standalone":
        url: str = request.getfixturevalue("standalone")
        return url
    where: str = request.param
    return where


def slow(calls: Path) -> dict[str, Any]:
    """Calls that are counted, and take a second each."""
    return {"predict": {"calls": str(calls), "rules": [{"action": "sleep", "seconds": 1.0}]}}


def executors(driver: Driven) -> list[psutil.Process]:
    """JVMs that run tasks."""
    found = []
    for process in driver.family():
        try:
            if EXECUTOR in " ".join(process.cmdline()) and "java" in process.name():
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def wait_for_calls(driver: Driven, calls: Path, count: int) -> None:
    while not calls.exists() or len(calls.read_text("ascii").split()) < count:
        assert driver.process.poll() is None, driver.log.read_text("utf-8")
        time.sleep(0.05)


def job_on(folder: Path, model: Path, pixels: list[bytes], **parts: Any) -> Job:
    write_parquet(folder / "input", image_table(pixels), files=FILES)
    return job_of(folder, model, engine={"backend": "torch", "precision": "fp32"}, **parts)


def test_a_row_that_raises_and_one_that_kills_its_worker_are_found_wherever_spark_runs(
    master: str, model: Path, tmp_path: Path
) -> None:
    pixels = [bytes([cell[0] % 200]) + cell[1:] for cell in images(ROWS)]
    for row, mark in {17: RAISE, 44: SEGV}.items():
        pixels[row] = bytes([mark]) + pixels[row][1:]
    job = job_on(tmp_path, model, pixels)
    rules = [{"action": "raise", "when": [0, RAISE]}, {"action": "segv", "when": [0, SEGV]}]

    driver = start(
        job, tmp_path / "drivers", "--master", master, script={"predict": {"rules": rules}}
    )

    assert driver.wait() == 0, driver.log.read_text("utf-8")
    assert driver.told()["failed"] == 2
    assert not violations(job, model, pixels, set(), {17, 44})
    assert not driver.orphans()


def test_an_executor_killed_in_the_middle_repeats_its_own_tasks_and_nothing_that_is_committed(
    standalone: str, model: Path, tmp_path: Path
) -> None:
    pixels, calls = images(ROWS), tmp_path / "calls"
    job = job_on(tmp_path, model, pixels)

    driver = start(job, tmp_path / "drivers", "--master", standalone, script=slow(calls))
    wait_for_calls(driver, calls, 3)  # one has made the table, two are under way
    send(executors(driver)[0], KILL)

    assert driver.wait() == 0, driver.log.read_text("utf-8")
    assert not violations(job, model, pixels, set(), set())
    assert ROWS <= scored_rows(calls) <= ROWS + 2 * ROWS // FILES  # two units were under way
    ledger = table(Path(job.output.path), "ledger")
    assert any(row["x_CostKind"] == "failed" for row in ledger)
    assert not driver.open_books()
    assert not driver.orphans()


def test_a_shuffle_lost_with_its_executor_is_read_again_and_what_is_committed_is_not_scored_again(
    standalone: str, tmp_path: Path
) -> None:
    model, calls = columns_mlp(tmp_path / "model", a="double", b="double"), tmp_path / "calls"
    (tmp_path / "input").mkdir()
    size = ROWS // FILES
    for file in range(FILES):
        ids = range(file * size, (file + 1) * size)
        lines = ["id,a,b", *(f"{row},{row / 7},{row / 3}" for row in ids)]
        (tmp_path / "input" / f"{file}.csv").write_text("\n".join(lines) + "\n", "utf-8")
    kinds = {"id": "bigint", "a": "double", "b": "double"}
    job = job_of(
        tmp_path, model, engine={"backend": "torch", "precision": "fp32"},
        source={"format": "csv", "path": str(tmp_path / "input")},
        contract={"columns": {name: {"type": kind} for name, kind in kinds.items()}},
    )  # fmt: skip

    driver = start(job, tmp_path / "drivers", "--master", standalone, script=slow(calls))
    wait_for_calls(driver, calls, 3)  # one has made the table, two are under way
    send(executors(driver)[0], KILL)

    assert driver.wait() == 0, driver.log.read_text("utf-8")
    scored = table(Path(job.output.path), job.table)
    assert sorted(row["id"] for row in scored) == list(range(ROWS))
    assert ROWS <= scored_rows(calls) <= ROWS + 2 * size
    assert not driver.open_books()
    assert not driver.orphans()
