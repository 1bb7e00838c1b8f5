"""Spark's own servers on loopback, each a process of its own: a master with workers, a Connect server."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyspark

HOME = Path(pyspark.__file__).parent
CONF = Path(__file__).resolve().parents[1] / "conf" / "spark"


@contextmanager
def standalone(folder: Path, within: Sequence[str] = ()) -> Iterator[str]:
    """The address of a master with two workers of one core each, which ``within`` starts.

    Each worker is a host of its own: Spark starts no second copy of a task on the host of the first.
    """
    port = free_port()
    url = f"spark://127.0.0.1:{port}"
    master = ("--host", "127.0.0.1", "--port", str(port), "--webui-port", "0")
    started = [_spark_class(folder, "master", (), *master)]
    try:
        wait_for(lambda: listens(port))
        worker = ("--webui-port", "0", "-c", "1", "-m", "1g")
        started += [
            _spark_class(
                folder, f"worker-{number}", within, "--host", f"127.0.0.{1 + number}", *worker,
                "-d", str(folder / f"{number}"), url,
            )
            for number in range(2)
        ]  # fmt: skip
        log = folder / "master.log"
        wait_for(lambda: log.read_text("utf-8").count("Registering worker") == 2)
        yield url
    finally:
        _end(*reversed(started))


@contextmanager
def connect(folder: Path, python: Path, settings: Mapping[str, str] | None = None) -> Iterator[str]:
    """The address of a Connect server with the settings of conf/, whose workers run ``python``."""
    port = free_port()
    chosen = {"spark.connect.grpc.binding.port": str(port), **(settings or {})}
    command = [
        str(HOME / "bin/spark-submit"), "--properties-file", str(CONF / "connect.conf"),
        *(word for key, value in chosen.items() for word in ("--conf", f"{key}={value}")),
        "--class", "org.apache.spark.sql.connect.service.SparkConnectServer", "spark-internal",
    ]  # fmt: skip
    with (folder / "connect.log").open("wb") as log:
        environment = {**os.environ, "SPARK_HOME": str(HOME), "PYSPARK_PYTHON": str(python)}
        environment["PYTHONSAFEPATH"] = "1"  # as docs/CONNECT.md has it
        environment.pop("PYTHONPATH", None)  # what a run does not send is not there
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=folder
        )
    try:
        wait_for(lambda: listens(port))
        yield f"sc://127.0.0.1:{port}"
    finally:
        _end(process)


def _spark_class(
    folder: Path, name: str, within: Sequence[str], *arguments: str
) -> subprocess.Popen[bytes]:
    role = name.partition("-")[0]
    started = f"org.apache.spark.deploy.{role}.{role.title()}"
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            [*within, str(HOME / "bin/spark-class"), started, *arguments],
            stdout=log, stderr=subprocess.STDOUT,
            env={**os.environ, "SPARK_HOME": str(HOME), "PYSPARK_PYTHON": sys.executable},
        )  # fmt: skip


def _end(*processes: subprocess.Popen[bytes]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait(30)


def free_port() -> int:
    """A port of loopback that nothing listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Whether something listens there."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def wait_for(happens: Callable[[], bool], seconds: float = 180.0) -> None:
    """Until it happens, or the test fails."""
    until = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.1)
