"""A command as a whole process: how long it took, and what it and its children held and used."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
_EVERY_S = 1.0  # looking at a tree costs tens of milliseconds of a core
_GONE_S = 30.0
# How many threads a contestant takes is its own business.
_DROPPED = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "MASTER")


@dataclass(frozen=True)
class Used:
    """What a process tree took. PSS counts pages that processes share once, in equal parts."""

    started_at: float  # seconds since 1970
    wall_s: float
    cpu_s: float  # all its processes, up to their last sample
    peak_pss_bytes: int  # the largest sum at one moment
    mean_pss_bytes: int  # over the time it ran
    peak_pss_bytes_of: dict[str, int]  # each kind's own largest sum: driver, jvm, workers


class Failed(RuntimeError):
    """A contestant that did not end with exit code 0, or not in time."""


def measured(command: Sequence[str], log: Path, limit_s: float = 1800.0) -> Used:
    """Run ``command`` to its end, sampled once a second. Raises Failed."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        started_at, started = time.time(), time.perf_counter()
        process = psutil.Popen(command, stdout=out, stderr=out, env=_environment(), cwd=ROOT)
        tree = Tree(process)
        while True:
            tree.sample()
            if time.perf_counter() - started > limit_s:
                tree.end()
            try:
                code = process.wait(timeout=_EVERY_S)
                break
            except (psutil.TimeoutExpired, subprocess.TimeoutExpired):
                continue
        wall_s = time.perf_counter() - started
    tree.wait_until_gone()
    if code:
        raise Failed(f"{' '.join(command[:3])} ended with exit code {code}; see {log}")
    return Used(
        started_at,
        wall_s,
        sum(tree.cpu_s.values()),
        tree.peak,
        int(tree.byte_s / max(tree.sampled_s, 1e-9)),
        dict(tree.peaks),
    )


@dataclass
class Tree:
    """A process and all that descend from it, as seen so far."""

    root: psutil.Process
    seen: dict[int, psutil.Process] = field(default_factory=dict)
    cpu_s: dict[int, float] = field(default_factory=dict)
    peak: int = 0
    peaks: dict[str, int] = field(default_factory=dict)
    byte_s: float = 0.0
    sampled_s: float = 0.0
    last: float | None = None

    def sample(self) -> None:
        """Look once: memory now, and CPU seconds up to now."""
        try:
            living = [self.root, *self.root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        by_kind: dict[str, int] = {}
        for process in living:
            kind, pss = self._one(process)
            by_kind[kind] = by_kind.get(kind, 0) + pss
        total, now = sum(by_kind.values()), time.perf_counter()
        self.peak = max(self.peak, total)
        self.peaks = {
            kind: max(by_kind.get(kind, 0), self.peaks.get(kind, 0))
            for kind in {*by_kind, *self.peaks}
        }
        if self.last is not None:
            self.byte_s += total * (now - self.last)
            self.sampled_s += now - self.last
        self.last = now

    def end(self) -> None:
        """Kill everything in it."""
        for process in reversed([self.root, *self.root.children(recursive=True)]):
            process.kill()

    def wait_until_gone(self) -> None:
        """Return when no process of the tree is left: the next contestant has the machine alone."""
        psutil.wait_procs(list(self.seen.values()), timeout=_GONE_S)

    def _one(self, process: psutil.Process) -> tuple[str, int]:
        try:
            with process.oneshot():
                times = process.cpu_times()
                pss = process.memory_full_info().pss
                kind = "jvm" if process.name() == "java" else "workers"
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return "workers", 0
        self.seen[process.pid] = process
        self.cpu_s[process.pid] = times.user + times.system
        return ("driver" if process.pid == self.root.pid else kind), int(pss)


def _environment() -> dict[str, str]:
    """This one, with the repository on Python's path, in peers' environments and workers too."""
    kept = {name: value for name, value in os.environ.items() if name not in _DROPPED}
    return {**kept, "PYTHONPATH": str(ROOT)}
