"""``python -m tests.chaos.campaign --seconds 1200 --seed 1``: runs under random faults, and what must hold.

A job is started again and again, with faults drawn from a seed, until it is done; then the invariants
are checked: every key once, no unit committed twice, values as undisturbed, nothing left behind, books
that close, and a rerun that scores nothing. Each violation is printed with the seed that repeats its episode:

  python -m tests.chaos.campaign --only 17 --seed 1
  python -m tests.chaos.campaign --seconds 300 --without lease        proves that it would be found
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from deltalake import DeltaTable

from millrace.schemas.config import Job
from tests.chaos.driven import (
    INT,
    KILL,
    TERM,
    Driven,
    send,
    start,
    start_together,
    table,
    violations,
)
from tests.chaos.driver import GUARDS
from tests.helpers import image_table, images, job_of, pixel_mlp, write_parquet

RAISE, SEGV, HANG = 253, 255, 254  # first pixels that a script knows
POISON = {RAISE: "a row raises", SEGV: "a row kills its worker", HANG: "a row hangs"}
BESIDE = 0.6  # share of attempts with a second fault
ATTEMPTS = 6  # of which the last is left alone
FAILPOINTS = ("before_commit", "after_commit", "before_ledger", "before_done")


@dataclass
class Episode:
    """One job over one input, from its first driver to its last."""

    seed: str
    folder: Path
    model: Path
    without: str | None
    faults: list[str] = field(default_factory=list)
    runs: int = 0
    beside: list[dict[str, Any]] = field(default_factory=list)  # a worker's fault, next to another

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        rows, files = self.dice.randint(40, 160), self.dice.randint(2, 6)
        self.refused = {row for row in range(rows) if row % 10 == 3}
        good = [row for row in range(rows) if row not in self.refused]
        self.poison = dict.fromkeys(self.dice.sample(good, self.dice.randint(1, 8)), RAISE)
        if self.dice.random() < 0.25:
            self.poison[self.dice.choice(good)] = self.dice.choice((SEGV, HANG))
        self.faults += [POISON[pixel] for pixel in self.poison.values()]
        drawn = images(rows, seed=self.dice.randint(0, 2**31))
        self.pixels = [
            bytes([self.poison.get(row, cell[0] % 200)]) + cell[1:]
            for row, cell in enumerate(drawn)
        ]
        write_parquet(self.folder / "input", image_table(self.pixels), files=files)
        self.job = self._job()
        self.lake = Path(self.job.output.path)

    def _job(self) -> Job:
        contract = {
            "columns": {
                "id": {"type": "bigint", "nullable": False, "unique": True},
                "pixels": {"type": "binary", "nullable": False},
            },
            "rules": [{"name": "no_three", "holds": "id % 10 <> 3"}],
            "max_quarantined": 1.0,
        }
        run = {"unit_minutes": 1e-6, "batch_timeout_s": 5.0}
        engine = {"backend": "torch", "precision": "fp32", "batch": self.dice.choice((8, 64))}
        return job_of(self.folder, self.model, contract=contract, run=run, engine=engine)

    def script(self, driver: list[dict[str, Any]], **predict: Any) -> dict[str, Any]:
        """Poison rows always; beside them what an attempt's fault wants."""
        rules = [
            {"action": "raise", "when": [0, RAISE]},
            {"action": "segv", "when": [0, SEGV]},
            {"action": "hang", "when": [0, HANG]},
            *predict.pop("rules", []),
            *self.beside,
        ]
        calls = str(self.folder / "calls")
        return {"driver": driver, "predict": {"calls": calls, "rules": rules, **predict}}

    def play(self) -> list[str]:
        """Run the job under faults until it is done; what is not as it must be."""
        for attempt in range(ATTEMPTS):
            fault = self._fault() if attempt < ATTEMPTS - 1 else "none"
            codes = self._attempt(fault)
            if 0 in codes:
                break
        else:
            return [f"not done after {ATTEMPTS} attempts: exit codes {codes}"]
        if self.dice.random() < 0.3:
            self._restored()
        found = violations(self.job, self.model, self.pixels, self.refused, set(self.poison))
        found += self._open_books()
        before = DeltaTable(str(self.lake / self.job.table)).version()
        again = self._started(self.script([]))
        if again.wait() != 0 or DeltaTable(str(self.lake / self.job.table)).version() != before:
            found.append(f"a rerun of what is done was not idle: {again.told()}")
        found += [f"orphan: {one}" for one in again.orphans()]
        return found

    def _fault(self) -> str:
        return self.dice.choice(sorted(_FAULTS))

    def _attempt(self, fault: str) -> list[int]:
        """One driver, or two, under a fault; their exit codes."""
        self.beside = []
        if fault != "none":
            self.faults.append(fault)
            if self.dice.random() < BESIDE:
                self._beside(self.dice.choice(("exit", "segv", "kill")))
        drivers = _FAULTS[fault](self) if fault in _FAULTS else [self._started(self.script([]))]
        codes = [driver.wait() for driver in drivers]
        for driver in drivers:
            if left := driver.orphans():
                raise AssertionError(f"{self.seed}: orphans after {fault}: {left}")
        return codes

    def _beside(self, action: str) -> None:
        """A worker dies once in this attempt, whatever else happens to it."""
        once = str(self.folder / f"beside-{self.runs}")
        self.beside = [{"action": action, "once": once}]
        self.faults.insert(-1, f"beside: worker {action}")  # an attempt's own fault stays the last

    def _started(self, script: dict[str, Any], *arguments: str) -> Driven:
        self.runs += 1
        guard = ("--without", self.without) if self.without else ()
        return start(self.job, self.folder / "drivers", *guard, *arguments, script=script)

    def _restored(self) -> None:
        """The predictions as they were some commits ago; then the job once more."""
        self.faults.append("restore")
        predictions = DeltaTable(str(self.lake / self.job.table))
        if predictions.version():
            predictions.restore(self.dice.randrange(predictions.version()))
        self._started(self.script([])).wait()

    def _open_books(self) -> list[str]:
        """Gates of the ledger that the run's last word says are shut: its waste is not all told."""
        last = max(table(self.lake, "runs"), key=lambda event: (event["number"], event["event"]))
        gates = json.loads(last["gates"] or "[]")
        return [
            f"books: {gate['name']}: {gate['got']}" for gate in gates if gate["passed"] is False
        ]

    # Faults: each starts what it is about, and gives back the drivers to wait for.

    def at_failpoint(self) -> list[Driven]:
        """SIGKILL at a place in the driver's code."""
        rule = {
            "at": self.dice.choice(FAILPOINTS), "action": self.dice.choice(("kill", "raise")),
            "nth": self.dice.choice((1, 1, 2)),
        }  # fmt: skip
        self.faults[-1] = f"{rule['action']} {rule['at']}"
        return [self._started(self.script([rule]))]

    def signalled(self, number: int) -> list[Driven]:
        """A signal to the driver, at any time."""
        driver = self._started(self.script([]))
        time.sleep(self.dice.uniform(1.0, 14.0))
        send(driver.process, number)
        return [driver]

    def worker_dies(self, action: str) -> list[Driven]:
        """A worker dies in the middle of a call, once."""
        fired = self.folder / f"fired-{self.runs}"
        rule = {"action": action, "once": str(fired)}
        return [self._started(self.script([], rules=[rule]))]

    def child_killed(self, name: str) -> list[Driven]:
        """SIGKILL to a process that the driver started."""
        driver = self._started(self.script([]))
        until = time.monotonic() + self.dice.uniform(6.0, 14.0)
        while time.monotonic() < until and driver.process.poll() is None:
            time.sleep(0.1)
        family = [one for one in driver.family() if one.pid != driver.process.pid]
        fit = [one for one in family if name in _name(one)]
        if fit:
            send(self.dice.choice(fit), KILL)
        return [driver]

    def two_drivers(self) -> list[Driven]:
        """Two drivers that start at the same moment."""
        one = partial(self._started, self.script([]))
        return start_together([one, one], self.folder / f"together-{self.runs}")

    def little_memory(self) -> list[Driven]:
        """A device that holds few rows."""
        return [self._started(self.script([], max_rows=self.dice.randint(1, 12)))]


def _name(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


_FAULTS = {
    "failpoint": Episode.at_failpoint,
    "failpoint again": Episode.at_failpoint,
    "kill the driver": lambda self: self.signalled(KILL),
    "SIGTERM": lambda self: self.signalled(TERM),
    "SIGINT": lambda self: self.signalled(INT),
    "worker exits": lambda self: self.worker_dies("exit"),
    "worker segfaults": lambda self: self.worker_dies("segv"),
    "worker killed": lambda self: self.worker_dies("kill"),
    "worker hangs": lambda self: self.worker_dies("hang"),
    "JVM killed": lambda self: self.child_killed("java"),
    "worker's process killed": lambda self: self.child_killed("daemon"),
    "two drivers": Episode.two_drivers,
    "little memory": Episode.little_memory,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Play episodes until the time is over; 1 where an invariant was violated."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=1200.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="this episode alone")
    parser.add_argument("--without", choices=GUARDS, help="take a guard away")
    parser.add_argument("--out", type=Path, help="a JSON file for what was found")
    given = parser.parse_args(arguments)
    ends, faults, runs, found = time.monotonic() + given.seconds, Counter[str](), 0, {}
    numbers = iter([given.only] if given.only is not None else range(10**6))
    with tempfile.TemporaryDirectory(prefix="millrace-chaos-") as scratch:
        model = pixel_mlp(Path(scratch) / "model")
        for number in numbers:
            if time.monotonic() > ends:
                break
            folder = Path(scratch) / str(number)
            one = Episode(f"{given.seed}/{number}", folder, model, given.without)
            try:
                broken = one.play()
            except (AssertionError, subprocess.TimeoutExpired) as error:
                broken = [str(error)]
            faults.update(one.faults)
            runs += one.runs
            print(
                f"episode {number} of seed {given.seed}: {one.runs} runs, {', '.join(one.faults)}: "
                f"{'; '.join(broken) or 'all is as it must be'}",
                flush=True,
            )
            if broken:
                found[f"--seed {given.seed} --only {number}"] = broken
            shutil.rmtree(folder, ignore_errors=True)
    told = {"runs": runs, "faults": dict(faults), "kinds": len(faults), "violations": found,
            "without": given.without, "seconds": given.seconds, "seed": given.seed}  # fmt: skip
    print(json.dumps(told, indent=2))
    if given.out:
        given.out.write_text(json.dumps(told, indent=2) + "\n", "utf-8")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
