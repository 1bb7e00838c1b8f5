"""Runs as processes of their own that can be killed, and what must be true of their lake afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import yaml
from deltalake import DeltaTable

from millrace.pipelines.lake import live_rows
from millrace.schemas.config import Job
from millrace.udfs.engine.fault_script import VARIABLE
from tests.chaos.driver import MARK
from tests.helpers import torch_loop

_EXECUTOR = "CoarseGrainedExecutorBackend"
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Driven:
    """A driver process, and everything that it starts."""

    process: subprocess.Popen[bytes]
    log: Path
    token: str
    started: float = field(default_factory=time.monotonic)

    def wait(self, timeout_s: float = 240.0) -> int:
        """Its exit code; negative for a signal."""
        return self.process.wait(timeout_s)

    def told(self) -> dict[str, Any]:
        """The object on its last line."""
        lines = [line for line in self.log.read_text("utf-8", "replace").splitlines() if line]
        for line in reversed(lines):
            if line.startswith("{"):
                found: dict[str, Any] = json.loads(line)
                return found
        return {}

    def open_books(self) -> list[str]:
        """Gates that it did not pass."""
        return [
            f"{gate['name']}: {gate['got']}"
            for gate in self.told()["gates"]
            if gate["passed"] is False
        ]

    def family(self) -> list[psutil.Process]:
        """All living processes that it started, workers and JVM with them."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self.token and process.status() != "zombie":
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def orphans(self, within_s: float = 10.0) -> list[str]:
        """What still lives so long after its end; then it is killed."""
        deadline = time.monotonic() + within_s
        while (left := self.family()) and time.monotonic() < deadline:
            time.sleep(0.2)
        told = []
        for process in left:
            try:
                told.append(" ".join(process.cmdline())[:120])
                process.kill()
            except psutil.NoSuchProcess:
                continue
        return told


def executors(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Of these, the JVMs that run tasks for a driver."""
    found = []
    for process in processes:
        try:
            if _EXECUTOR in " ".join(process.cmdline()) and "java" in process.name():
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def start(
    job: Job,
    folder: Path,
    *arguments: str,
    script: Mapping[str, Any] | None = None,
) -> Driven:
    """Start a driver for the job; ``script`` is one of failpoints."""
    folder.mkdir(parents=True, exist_ok=True)
    token = f"{os.getpid()}-{time.monotonic_ns()}"
    told, log = folder / f"job-{token}.yaml", folder / f"log-{token}.txt"
    told.write_text(yaml.safe_dump(job.model_dump(mode="json")), "utf-8")
    environment = {**os.environ, MARK: token}
    if script is not None:
        file = folder / f"failpoints-{token}.json"
        file.write_text(json.dumps(script), "utf-8")
        environment[VARIABLE] = str(file)
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.driver", str(told), *arguments],
            stdout=out, stderr=subprocess.STDOUT, env=environment, cwd=ROOT,
            start_new_session=True,
        )  # fmt: skip
    return Driven(process, log, token)


def start_together(starters: Sequence[Callable[..., Driven]], folder: Path) -> list[Driven]:
    """Drivers whose runs begin at the same moment; each starter takes the driver's arguments."""
    folder.mkdir(parents=True)
    barrier = folder / "go"
    ready = [folder / f"ready-{number}" for number in range(len(starters))]
    drivers = [
        starter("--barrier", str(barrier), "--ready", str(one))
        for starter, one in zip(starters, ready, strict=True)
    ]
    while not all(one.exists() for one in ready) and all(
        one.process.poll() is None for one in drivers
    ):
        time.sleep(0.05)
    barrier.touch()
    return drivers


def send(process: psutil.Process | subprocess.Popen[bytes], number: int) -> None:
    """A signal to a process that may be gone already."""
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        return


KILL, TERM, INT = signal.SIGKILL, signal.SIGTERM, signal.SIGINT


def table(lake: Path, name: str) -> list[dict[str, Any]]:
    """All rows of a table; none where it is not there."""
    if not DeltaTable.is_deltatable(str(lake / name)):
        return []
    found: list[dict[str, Any]] = live_rows.rows(DeltaTable(str(lake / name))).to_pylist()
    return found


def scored_rows(calls: Path) -> int:
    """Rows of all calls of the model, as failpoints wrote them down."""
    return sum(map(int, calls.read_text("ascii").split()))


def wait_for_calls(driver: Driven, calls: Path, count: int) -> None:
    """Until the model was called so often; an error where the driver ends before."""
    while not calls.exists() or len(calls.read_text("ascii").split()) < count:
        assert driver.process.poll() is None, driver.log.read_text("utf-8")
        time.sleep(0.05)


def violations(
    job: Job, model: Path, pixels: list[bytes], refused: set[int], poisoned: set[int]
) -> list[str]:
    """What is not as it must be after a run that is done, whatever happened on the way."""
    lake, found = Path(job.output.path), []
    rows = table(lake, job.table)
    keys = Counter(row["id"] for row in rows)
    aside = Counter(json.loads(row["key"])["id"] for row in table(lake, "quarantine"))
    once = Counter(range(len(pixels)))
    if keys + aside != once:
        twice = {key: n for key, n in (keys + aside).items() if n > 1}
        lost = once - (keys + aside)
        found.append(f"rows twice: {twice}; rows lost: {dict(lost)}")
    if set(aside) != refused:
        found.append(f"quarantined {sorted(aside)}, expected {sorted(refused)}")
    failed = {row["id"] for row in rows if row["error"] is not None}
    if failed != poisoned:
        found.append(f"failed {sorted(failed)}, expected {sorted(poisoned)}")
    labels, probabilities = torch_loop(model, pixels)
    found += [
        f"row {row['id']} has other values than an undisturbed run's"
        for row in rows
        if row["error"] is None
        and not (
            row["label"] == labels[row["id"]]
            and np.allclose(row["probabilities"], probabilities[row["id"]], atol=1e-5)
        )
    ]
    found += _commits(lake, job.table)
    if (lake / "_staging").exists():
        found.append(f"scratch is left: {[p.name for p in (lake / '_staging').iterdir()]}")
    return found


def _commits(lake: Path, name: str) -> list[str]:
    """Units that were committed more than once, and rows whose ledger does not add up."""
    if not DeltaTable.is_deltatable(str(lake / name)):
        return [f"there is no table {name}"]
    history = DeltaTable(str(lake / name)).history()
    restored = any(entry.get("operation") == "RESTORE" for entry in history)
    told = Counter(
        entry["userMetadata"].split(":after-")[0] for entry in history if "userMetadata" in entry
    )
    twice = [] if restored else [f"two commits of {one}" for one, n in told.items() if n > 1]
    runs = table(lake, "runs")
    last = max(runs, key=lambda event: event["event"], default={"state": "none", "scored": 0})
    if last["state"] != "done":
        return [*twice, f"the last event is {last['state']}"]
    records = Counter(row["x_RecordId"] for row in table(lake, "ledger"))
    double = [one for one, n in records.items() if n > 1]
    twice += [f"{len(double)} ledger rows twice, such as {double[0]}"] if double else []
    return twice
