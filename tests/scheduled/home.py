"""A real Airflow of a test's own: its database, its processes, and what its tables say of tasks."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import yaml

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / "build" / "airflow" / "bin"
SPARK = "org.apache.spark.deploy.SparkSubmit"


def environment_made() -> None:
    """Airflow's environment, made where it is not there."""
    script = ROOT / "deploy" / "airflow" / "environment.sh"
    subprocess.run(["bash", str(script), sys.executable], check=True, timeout=900)


def _free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        port: int = asked.getsockname()[1]
        return port


@dataclass
class Airflow:
    """A home, and the processes that were started in it."""

    folder: Path
    extra: dict[str, str] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    port: int = field(default_factory=_free_port)

    @property
    def environment(self) -> dict[str, str]:
        """Variables of its processes: Airflow's own Python, Millrace's home, short patience."""
        inherited = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "SPARK_HOME")}
        told = {
            "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.folder}/home/airflow.db?timeout=120",
            "CORE__DAGS_FOLDER": ROOT / "deploy" / "airflow",
            "CORE__LOAD_EXAMPLES": False,
            "CORE__DAGS_ARE_PAUSED_AT_CREATION": False,
            "CORE__PARALLELISM": 3,
            "CORE__EXECUTION_API_SERVER_URL": f"http://localhost:{self.port}/execution/",
            "API__HOST": "127.0.0.1",
            "API__PORT": self.port,
            "API__WORKERS": 1,
            "API__SECRET_KEY": self.token,
            "API_AUTH__JWT_SECRET": self.token * 2,
            "SCHEDULER__JOB_HEARTBEAT_SEC": 2,
            "SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": 30,
            "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": 5,
            "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": 60,
            "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": 5,
        }
        return {
            **inherited,
            **{f"AIRFLOW__{name}": str(value) for name, value in told.items()},
            "AIRFLOW_HOME": str(self.folder / "home"),
            "AIRFLOW_CONN_SPARK_DEFAULT": json.dumps({"conn_type": "spark", "host": "local[2,4]"}),
            "MILLRACE_HOME": str(ROOT),
            "MILLRACE_DAGS": str(self.folder / "dags.yaml"),
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            **self.extra,
        }

    def write(self, **entry: Any) -> None:
        """dags.yaml with one entry."""
        (self.folder / "dags.yaml").write_text(yaml.safe_dump([entry]))

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """``airflow`` with these words, whatever comes of it; both outputs in one."""
        return subprocess.run(
            ["airflow", *words], env=self.environment, cwd=self.folder, text=True, timeout=540,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip

    def start(self, part: str) -> None:
        """``airflow`` with this one word, as a group of its own; its output in a file of its name."""
        with (self.folder / f"{part}.log").open("ab") as log:
            self.processes[part] = subprocess.Popen(
                ["airflow", part], env=self.environment, cwd=self.folder, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def answers(self) -> bool:
        """Whether the API server does."""
        with socket.socket() as asking:
            return asking.connect_ex(("127.0.0.1", self.port)) == 0

    def tree(self, part: str) -> tuple[list[psutil.Process], list[psutil.Process]]:
        """Its living processes: Airflow's, and those of Spark below them."""
        whole = psutil.Process(self.processes[part].pid)
        everyone = [whole, *whole.children(recursive=True)]
        roots = [one for one in everyone if SPARK in _words(one)]
        spark = {one for root in roots for one in (root, *root.children(recursive=True))}
        return [one for one in everyone if one not in spark], list(spark)

    def rows(self, query: str) -> list[dict[str, Any]]:
        """What a query says of Airflow's own tables."""
        path = self.folder / "home" / "airflow.db"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(query)]

    def wait_for(self, what: str, is_so: Callable[[], Any], within_s: float) -> Any:
        """What ``is_so`` gives once it is true; the processes live all the while."""
        deadline = time.monotonic() + within_s
        while not (found := is_so()):
            dead = [part for part, one in self.processes.items() if one.poll() is not None]
            told = "\n".join((self.folder / f"{p}.log").read_text()[-3000:] for p in dead)
            assert not dead, f"{dead} ended while waiting for {what}:\n{told}"
            assert not (broken := self.rows("SELECT stacktrace FROM import_error")), broken
            tasks = self.rows("SELECT run_id, task_id, state, try_number FROM task_instance")
            assert time.monotonic() < deadline, f"no {what} in {within_s} s: {tasks}"
            time.sleep(0.3)
        return found

    def logs(self) -> str:
        """Every task's log."""
        files = sorted((self.folder / "home" / "logs").rglob("attempt=*.log"))
        return "\n".join(file.read_text("utf-8", "replace") for file in files)


@contextmanager
def airflow(folder: Path, **extra: str) -> Iterator[Airflow]:
    """An Airflow with an empty database; at the end, nothing that it started lives."""
    environment_made()
    made = Airflow(folder, extra)
    done = made.command("db", "migrate")
    assert done.returncode == 0, done.stdout
    try:
        yield made
    finally:
        for part in list(made.processes):
            if made.processes[part].poll() is None:
                kill([one for side in made.tree(part) for one in side])
            made.processes[part].wait(20)


def kill(processes: list[psutil.Process]) -> None:
    """SIGKILL to all of them, parents first."""
    for process in processes:
        try:
            process.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue


def seconds(told: str) -> float:
    """A time of Airflow's tables, as seconds since 1970."""
    return datetime.fromisoformat(told).replace(tzinfo=UTC).timestamp()


def _words(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""
