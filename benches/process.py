"""A command as a whole process: how long it took, and what it and its children held and used."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_EVERY_S = 0.25
_GONE_S = 30.0


@dataclass(frozen=True)
class Used:
    """What a process tree took."""

    wall_s: float
    cpu_s: float  # all its processes, up to their last sample
    peak_pss_bytes: int  # the largest sum at one moment; pages that are shared count once


class Failed(RuntimeError):
    """A contestant that did not end with exit code 0."""


def measured(module: str, arguments: Sequence[str], log: Path) -> Used:
    """Run ``python -m module`` to its end, sampled four times a second. Raises Failed."""
    command = [sys.executable, "-m", module, *arguments]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        started = time.perf_counter()
        process = psutil.Popen(command, stdout=out, stderr=out, env=_environment())
        tree = _Tree(process)
        while True:
            tree.sample()
            try:
                code = process.wait(timeout=_EVERY_S)
                break
            except (psutil.TimeoutExpired, subprocess.TimeoutExpired):
                continue
        wall_s = time.perf_counter() - started
    tree.wait_until_gone()
    if code:
        raise Failed(f"{module} ended with exit code {code}; see {log}")
    return Used(wall_s, sum(tree.cpu_s.values()), tree.peak)


class _Tree:
    """A process and all that descend from it, as seen so far."""

    def __init__(self, root: psutil.Process) -> None:
        self.root = root
        self.seen: dict[int, psutil.Process] = {}
        self.cpu_s: dict[int, float] = {}
        self.peak = 0

    def sample(self) -> None:
        """Look once: memory now, and CPU seconds up to now."""
        try:
            living = [self.root, *self.root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        self.peak = max(self.peak, sum(self._one(process) for process in living))

    def wait_until_gone(self) -> None:
        """Return when no process of the tree is left: the next contestant has the machine alone."""
        psutil.wait_procs(list(self.seen.values()), timeout=_GONE_S)

    def _one(self, process: psutil.Process) -> int:
        try:
            with process.oneshot():
                times = process.cpu_times()
                pss = process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return 0
        self.seen[process.pid] = process
        self.cpu_s[process.pid] = times.user + times.system
        return int(pss)


def _environment() -> dict[str, str]:
    """This one, without the switches that would change how many threads a contestant takes."""
    dropped = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "MASTER")
    return {name: value for name, value in os.environ.items() if name not in dropped}
