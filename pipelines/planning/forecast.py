"""A run foreseen: rows from metadata, time from a pilot and past runs, cost from the price book."""

from __future__ import annotations

import math
import os
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil
from pyspark.sql import SparkSession

from pipelines import history, loop, offers, pilot, place, runs, volume
from pipelines.calibrate import way_of
from pipelines.command_session import spark_log
from pipelines.faults import translated
from pipelines.forecast import blend
from pipelines.history import Past
from pipelines.offers import Offer, Whole
from pipelines.pilot import Pilot
from pipelines.progress import Progress
from pipelines.volume import Count
from pipelines.work import Work, prepare
from schemas.config import Job
from schemas.errors import UsageError
from schemas.prices import PriceBook
from schemas.yaml_file import load

_PILOT_UNSURE = 0.06  # what a pilot is off by, relatively, however well its trials agree
_LARGE_STEP = 0.02  # and for each e-fold from its largest part to the whole
_BUSY = 0.7  # tasks that run or wait, a core
_STOPS = 0.1  # of the seconds in which a session starts, those in which it stops
_SMALL_S = 1.0  # trials that differ by less tell little of what grows


@dataclass(frozen=True)
class Forecast:
    """All that `plan` says."""

    job: str
    count: Count
    units: int
    pilot: Pilot
    here: Offer
    elsewhere: tuple[Offer, ...]
    front: tuple[Offer, ...]
    chosen: Offer | None
    deadline_s: float | None
    currency: str | None
    past: int
    notes: tuple[str, ...]


def foresee(
    spark: SparkSession,
    job: Job,
    progress: Progress,
    session_s: float,
    deadline_s: float | None = None,
) -> Forecast:
    """The forecast of a run: a pilot is scored, nothing is committed. Raises MillraceError."""
    place.refuse_connect(spark, "millrace plan")
    with translated(spark_log(job)):
        started, waiting = time.monotonic(), psutil.getloadavg()[0]
        with progress.waiting("checking the model, the prices and the input"):
            work = prepare(spark, job)
            count = volume.counted(work.pinned)
            checked_s = time.monotonic() - started
        if not count.rows:
            raise UsageError(
                "there is nothing to foresee: the input has no rows", got=job.source.path
            )
        with progress.waiting("reading a sample"):
            cold_s = pilot.cold_read_s(spark, work)
        session_s *= 1 + _STOPS
        around_s = session_s + checked_s + cold_s
        plan_id = f"plan-{secrets.token_hex(4)}"
        with progress.waiting("finding how to compute: the run takes it over"):
            way = way_of(spark, work, plan_id, datetime.now(UTC))
        with (
            progress.waiting("scoring small parts of the input"),
            place.new_workers(spark, plan_id),
        ):
            trials = pilot.measured(spark, work, way, count, _now, plan_id)
    past = history.past_runs(work.lake, job.name, work.model.digest)
    units = len(loop.cut_units(spark, work, way))
    whole = _whole(trials, count, work, units, around_s, past, session_s)
    return _told(work, whole, trials, count, past, deadline_s, waiting)


def _now() -> datetime:
    return datetime.now(UTC)


def _whole(
    trials: Pilot,
    count: Count,
    work: Work,
    units: int,
    around_s: float,
    past: Sequence[Past],
    session_s: float,
) -> Whole:
    """The run here, as the pilot foretells it and past runs correct it."""
    amount, shape = trials.amount(count.rows, work.pinned.size_bytes), trials.shape(around_s)
    mid = shape.seconds(amount, units, shape.slots)
    unsure = unsure_of(trials, count.rows, trials.stray(amount) / mid)
    ratios = [
        (one.wall_s + session_s + trials.cold.pages_s)
        / shape.seconds(amount.times(one.rows / count.rows), one.units, one.slots)
        for one in history.comparable(past, shape.slots)
    ]
    return Whole(shape, amount, units, blend(mid, unsure, ratios))


def unsure_of(trials: Pilot, rows: int, stray: float) -> float:
    """The pilot's relative standard deviation: its trials' scatter, and how far it is to the whole."""
    largest = max(trial.amount.rows for trial in trials.warm)
    far = _LARGE_STEP * math.log(max(rows / max(largest, 1.0), 1.0))
    return math.hypot(min(stray, 1.0), math.hypot(_PILOT_UNSURE, far))


def _told(
    work: Work,
    whole: Whole,
    trials: Pilot,
    count: Count,
    past: Sequence[Past],
    deadline_s: float | None,
    waiting: float,
) -> Forecast:
    job, rate = work.job, work.rate
    name = job.cost.instance if job.cost else "this session"
    here = offers.here(whole, name, rate.instance if rate else None)
    others: list[Offer] = []
    if job.cost and rate:
        book = load(Path(job.cost.prices), PriceBook)
        speeds = _speeds(whole, past, rate.instance.sku)
        others = offers.elsewhere(whole, book.instances, speeds)
    every = [here, *others]
    return Forecast(
        job.name, count, whole.units, trials, here, tuple(others), tuple(offers.front(every)),
        offers.cheapest(every, deadline_s), deadline_s, rate.currency if rate else None, len(past),
        tuple(_notes(work, trials, count, past, others)) + _busy(waiting),
    )  # fmt: skip


def _speeds(whole: Whole, past: Sequence[Past], sku: str) -> dict[str, float]:
    """By instance, how fast a core was in past runs there, one here, which the job names, being 1."""
    found = {sku: 1.0}
    a_row = whole.shape.growing.growing_s(whole.amount) * whole.shape.slots / whole.amount.rows
    for name in {one.instance for one in past if one.instance} - {sku}:
        runs_there = [one for one in past if one.instance == name]
        slots = runs_there[-1].slots
        there = history.inference(runs_there, slots).per_row_s * slots
        if there > 0:
            found[name] = a_row / there
    return found


def _busy(waiting: float) -> tuple[str, ...]:
    """What to say where so many tasks ran or waited before the plan began."""
    cores = os.cpu_count() or 1
    told = f"the machine was busy before: {waiting:.1f} tasks ran or waited for {cores} cores"
    return (f"{told}; on a quiet one a run takes less",) if waiting >= _BUSY * cores else ()


def _notes(
    work: Work, trials: Pilot, count: Count, past: Sequence[Past], others: Sequence[Offer]
) -> list[str]:
    """What the forecast does not know, and what it assumes."""
    found = []
    if not count.is_exact:
        found.append(f"the number of rows is an estimate: {count.told_by}")
    if not past:
        found.append("no past run of this job and model tells how much runs differ")
    grown = [trial.grown_s for trial in trials.warm]
    if max(grown) - min(grown) < _SMALL_S:
        found.append("the pilot is small: what it took hardly grew with its rows")
    if not trials.from_all_over:
        found.append("the pilot's rows are from the beginning of the input's only file")
    if work.rate is None:
        found.append("no price book: cost.prices and cost.instance give costs and other instances")
    if any(not one.is_measured for one in others):
        found.append(
            "other instances were not measured: a core there is taken to be as fast as one here; the"
            " part of the time that grows with rows is divided by the slots, the rest is not"
        )
    last = runs.last_event(work.lake, work.fingerprint)
    if last is not None and last["state"] == runs.DONE:
        found.append("this input is scored already: only with --fresh a run does it again")
    return found
