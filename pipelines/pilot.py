"""A pilot: small parts of the input, validated, scored and accounted for as a run does, and timed.

It works in a scratch lake that is removed afterwards: no prediction of it is kept. The first part is
scored in a cold session, with workers that have yet to start, and is as large as seconds allow. The
second is the first that finds tables there: it still is no like of what follows, and nothing is taken
from it. The others tell, by several sizes, what is fixed and what grows.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pyspark.sql import SparkSession

from pipelines import index_page, ingest, ledger, loop, place, report, runs, units, volume, workers
from pipelines.account import Held, account
from pipelines.beside import beside
from pipelines.calibrate import Way, sample
from pipelines.driver import Driver
from pipelines.forecast import Amount, Line, Seen, Shape, fit, stray
from pipelines.pinning import pin
from pipelines.progress import Progress
from pipelines.runs import Clock, Run
from pipelines.slices import Asked, Slice, cut
from pipelines.steps import validate_rows
from pipelines.task_times import EventLog
from pipelines.volume import Count
from pipelines.work import Work
from schemas.config import ParquetSource
from schemas.pinned import Pinned

FIRST_ROWS = 64
COLD_S = 2.0  # of computing, at most, in the part that is scored cold
GROWS = 4  # times the rows of the one before, at least,
LEAPS = 16  # and at most, to what workers are busy with
GROWS_TO_S = 1.0  # for so long
SHARE = 8  # the largest part has at most an eighth of the rows,
LEAST_ROWS = 512  # or this many
ENOUGH_S = 4.0  # by which the largest part takes longer than the smallest: then the slope is known
FEWEST = 4  # trials that sizes are told by
LIMIT_S = 45.0  # no larger part is begun after so long
_METERED = ("decode_s", "compute_s", "convert_s", "emit_s")
_QUIET = Progress(quiet=True)


@dataclass(frozen=True)
class Trial:
    """One part, and what its steps took."""

    amount: Amount
    validate_s: float
    infer_s: float
    metered_s: float  # of infer_s: what workers' own clocks say of decoding and computing, by slots
    account_s: float
    pages_s: float

    @property
    def grown_s(self) -> float:
        """What grows with rows, and what stands before it."""
        return self.validate_s + self.infer_s


@dataclass(frozen=True)
class Pilot:
    """What the trials told: the cold one, and those where nothing was done for the first time."""

    cold: Trial
    warm: tuple[Trial, ...]
    slots: int
    from_all_over: bool

    @property
    def rows(self) -> int:
        """Rows that were scored, all trials together."""
        return round(sum(trial.amount.rows for trial in (self.cold, *self.warm)))

    def amount(self, rows: int, size_bytes: int) -> Amount:
        """The whole input: its tokens as those of the largest part, by bytes."""
        part = max(self.warm, key=lambda trial: trial.amount.rows).amount
        times = size_bytes / part.size_bytes if part.size_bytes else rows / max(part.rows, 1.0)
        return Amount(rows, part.tokens * times, size_bytes)

    def shape(self, around_s: float) -> Shape:
        """What a run's time consists of; ``around_s``: the session's start and end, and the checks."""
        validate, *rest = self._lines()
        infer = rest[0] + rest[1]
        told_s = validate.seconds(self.cold.amount) + infer.seconds(self.cold.amount)
        cold_s = max(0.0, self.cold.grown_s - told_s)
        after_s = max(trial.account_s + trial.pages_s for trial in (self.cold, *self.warm))
        once_s = around_s + cold_s + validate.fixed_s + after_s
        growing = replace(validate + infer, fixed_s=0.0)
        return Shape(once_s, infer.fixed_s, growing, self.slots)

    def stray(self, amount: Amount) -> float:
        """The seconds that the trials leave open, of validation and inference of an amount."""
        each = zip(self._seen(), self._lines(), strict=True)
        return math.hypot(*(stray(seen, line, amount) for seen, line in each))

    def _seen(self) -> list[list[Seen]]:
        """Of the warm trials: validation, inference but for what workers metered, and that."""
        return [
            [Seen(trial.amount, trial.validate_s) for trial in self.warm],
            [Seen(t.amount, max(0.0, t.infer_s - t.metered_s)) for t in self.warm],
            [Seen(trial.amount, trial.metered_s) for trial in self.warm],
        ]

    def _lines(self) -> list[Line]:
        """A line for each: all three read, move or write rows, so all three grow with them."""
        return [fit(seen) for seen in self._seen()]


def measured(
    spark: SparkSession, work: Work, way: Way, count: Count, now: Clock, plan_id: str
) -> Pilot:
    """The trials, smallest first, until they tell enough; nothing of them is left."""
    slots = place.slots(spark)
    with _scratch(work, plan_id) as scratch:
        drawn, pinned = _drawn(spark, work, scratch, count)
        bench = _Bench(spark, replace(drawn, lake=scratch / "lake"), way, now, count.rows)
        largest = max(count.rows // SHARE, min(LEAST_ROWS, count.rows))
        first = _first_rows(way, slots, largest)
        parts: list[Slice] = []

        def part(rows: int) -> Slice:
            asked = Asked(rows, count.rows, tuple(work.contract.columns), slots)
            parts.append(cut(drawn.job.source, pinned, asked, scratch / f"part-{len(parts)}"))
            return parts[-1]

        cold = bench.trial(part(_cold_rows(work, way, slots, first, largest)), cold=True)
        smallest = part(first)
        bench.trial(smallest)
        warm = [bench.trial(smallest)]
        began, rows = time.monotonic(), first
        while rows < largest and time.monotonic() - began < LIMIT_S and not _enough(warm):
            rows = min(largest, round(rows * _growth(warm[-1])))
            warm.append(bench.trial(part(rows)))
        warm.append(bench.trial(parts[-1]))  # the largest once more: the slope rests on it
        while len(warm) < FEWEST and time.monotonic() - began < LIMIT_S:
            warm.append(bench.trial(parts[-1]))
    return Pilot(cold, tuple(warm), slots, all(one.from_all_over for one in parts))


def cold_read_s(spark: SparkSession, work: Work) -> float:
    """Seconds that reading takes longer in a session that has not read yet.

    Where ways to compute are measured before the first trial, that would not find reading cold.
    """
    took = []
    for _ in range(2):
        started = time.monotonic()
        sample(spark, work).write.format("noop").mode("overwrite").save()
        took.append(time.monotonic() - started)
    return max(0.0, took[0] - took[1])


def _first_rows(way: Way, slots: int, largest: int) -> int:
    """Rows of the smallest part: a quarter of a second, where it is known how fast they go."""
    known = round(way.rows_per_s * slots / 4) if way.rows_per_s else FIRST_ROWS
    return max(1, min(max(FIRST_ROWS, known), largest // GROWS**2 or largest))


def _cold_rows(work: Work, way: Way, slots: int, first: int, largest: int) -> int:
    """Rows of the part that is scored cold: Java compiles what many rows go through, and only that."""
    known = way.rows_per_s or 1 / max(volume.most_seconds(work.model, 1), 1e-9)
    return min(largest, max(first, round(COLD_S * known * slots)))


def _growth(last: Trial) -> float:
    """By how much the next part is larger."""
    return min(LEAPS, max(GROWS, GROWS_TO_S / max(last.metered_s, 1e-3)))


def _enough(warm: Sequence[Trial]) -> bool:
    return len(warm) >= FEWEST - 1 and warm[-1].grown_s - warm[0].grown_s >= ENOUGH_S


@contextmanager
def _scratch(work: Work, plan_id: str) -> Iterator[Path]:
    """A folder that is gone afterwards."""
    driver = Driver.at(work.lake, plan_id)
    driver.folder.mkdir(parents=True)
    try:
        yield driver.folder
    finally:
        driver.end()


def _drawn(spark: SparkSession, work: Work, scratch: Path, count: Count) -> tuple[Work, Pinned]:
    """The work, and what parts are cut from: of a Delta table, a sample of it in Parquet files."""
    if work.pinned.format != "delta":
        return work, work.pinned
    wanted = max(count.rows / SHARE, LEAST_ROWS) * 1.2
    rows = ingest.read(spark, work.job.source, work.contract, work.pinned)
    folder = scratch / "drawn"
    sampled = rows.sample(min(1.0, wanted / max(1, count.rows)), seed=1)
    sampled.write.parquet(str(folder))
    source = ParquetSource(format="parquet", path=str(folder))
    job = work.job.model_copy(update={"source": source})
    return replace(work, job=job), pin(source)


@dataclass
class _Bench:
    """Where trials are made, one after the other, in one scratch lake."""

    spark: SparkSession
    work: Work  # whose lake is scratch
    way: Way
    now: Clock
    rows: int  # of the whole input
    made: int = 0

    def trial(self, part: Slice, *, cold: bool = False) -> Trial:
        """Validate, score and account for a part, as a run does."""
        self.made += 1
        job = self.work.job.model_copy(update={"source": part.source})
        work = replace(self.work, job=job, pinned=part.pinned)
        run = self._run(work)
        held = Held(EventLog.of(self.spark), place.slots(self.spark))
        started = time.monotonic()
        with beside(self.spark, 1) as submit:
            if cold:
                submit(workers.warm, self.spark, work, run.run_id, self.way).add_done_callback(
                    lambda done: done.exception()  # what hinders it is told by scoring
                )
            repeated, verdict = validate_rows(self.spark, work, run, _QUIET, self.now)
        validated = time.monotonic()
        at = loop.Pass(self.spark, work, run, repeated, self.way, self.rows, self.now)
        unit = units.Unit(0, part.pinned, verdict.rows)
        loop.score_units(at, units.planned(work.lake, run, [unit], self.now()), _QUIET)
        scored = time.monotonic()
        account(work, run, held, verdict, 1, self.now(), _QUIET)
        accounted = time.monotonic()
        runs.tell(work.lake, run, runs.DONE, self.now())
        report.write(work.lake, run.run_id)
        index_page.write(work.lake)
        paged = time.monotonic()
        meters = ledger.counted(work.lake, work.predictions.name, run.run_id).meters
        tokens = sum(meter["tokens"] or 0 for meter in meters)
        slots = place.slots(self.spark)
        metered_s = sum(meter[lap] for meter in meters for lap in _METERED) / slots
        size = part.share * self.of_bytes
        return Trial(
            Amount(verdict.rows, tokens, size),
            validated - started,
            scored - validated,
            min(metered_s, scored - validated),
            accounted - scored,
            paged - accounted,
        )

    @property
    def of_bytes(self) -> int:
        """Bytes of the whole input; 0 where the source tells none."""
        return self.work.pinned.size_bytes

    def _run(self, work: Work) -> Run:
        model = work.model
        facts = runs.facts(work.pinned.summary(), model.card.title, model.digest, work.settings)
        application = place.application(self.spark)
        name = f"pilot-{self.made}"
        run = Run(
            name,
            name,
            work.job.name,
            facts,
            Driver.at(work.lake, name),
            application=application,
        )
        return runs.tell(work.lake, run, "started", self.now(), held_since=self.now())
