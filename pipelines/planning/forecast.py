"""A run foreseen: rows from metadata, time from a pilot and past runs, cost from the price book."""

from __future__ import annotations

import math
import os
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import psutil
from pyspark.sql import SparkSession

from millrace.pipelines.console.progress import Progress
from millrace.pipelines.inference import run_history
from millrace.pipelines.inference.calibration import choose_config
from millrace.pipelines.inference.run_history import PastRun
from millrace.pipelines.inference.time_model import blend
from millrace.pipelines.job import size_estimate
from millrace.pipelines.job.prepared_job import PreparedJob, prepare
from millrace.pipelines.job.size_estimate import RowEstimate
from millrace.pipelines.lake import runs
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.planning import alternatives, forecast_table, pilot
from millrace.pipelines.planning.alternatives import Offer, RunEstimate
from millrace.pipelines.planning.pilot_trials import Pilot
from millrace.pipelines.run import inference_pass
from millrace.pipelines.sources.shipped_files import price_book
from millrace.pipelines.spark import cluster
from millrace.pipelines.spark.error_translation import translated
from millrace.schemas.config import Job
from millrace.schemas.errors import UsageError

_PILOT_UNSURE = 0.06  # what a pilot is off by, relatively, however well its trials agree
_LARGE_STEP = 0.02  # and for each e-fold from its largest part to the whole
_BUSY = 0.7  # tasks that run or wait, a core
_STOPS = 0.1  # of the seconds in which a session starts, those in which it stops
_SMALL_S = 1.0  # trials that differ by less tell little of what grows


@dataclass(frozen=True)
class Forecast:
    """All that `plan` says."""

    job: str
    count: RowEstimate
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

    def _repr_html_(self) -> str:
        return forecast_table.html(self)


def foresee(
    spark: SparkSession,
    job: Job,
    progress: Progress,
    session_s: float,
    deadline_s: float | None = None,
) -> Forecast:
    """The forecast of a run: a pilot is scored, nothing is committed. Raises MillraceError."""
    cluster.refuse_connect(spark, "millrace plan")
    with translated(LakeLocation.of(job).spark_log):
        started, waiting = time.monotonic(), psutil.getloadavg()[0]
        with progress.waiting("checking the model, the prices and the input"):
            prepared = prepare(spark, job)
            count = size_estimate.counted(prepared.pinned)
            checked_s = time.monotonic() - started
        if not count.rows:
            raise UsageError(
                "there is nothing to foresee: the input has no rows", got=job.source.path
            )
        with progress.waiting("reading a sample"):
            cold_s = pilot.cold_read_s(spark, prepared)
        session_s *= 1 + _STOPS
        around_s = session_s + checked_s + cold_s
        plan_id = f"plan-{secrets.token_hex(4)}"
        with progress.waiting("finding how to compute: the run takes it over"):
            config = choose_config(spark, prepared, plan_id, datetime.now(UTC))
        with (
            progress.waiting("scoring small parts of the input"),
            cluster.new_workers(spark, plan_id),
        ):
            trials = pilot.measured(spark, prepared, config, count, _now, plan_id)
    past = run_history.past_runs(prepared.lake, job.name, prepared.model.digest)
    units = len(inference_pass.cut_units(spark, prepared, config))
    whole = _whole(trials, count, prepared, units, around_s, past, session_s)
    return _forecast(prepared, whole, trials, count, past, deadline_s, waiting)


def _now() -> datetime:
    return datetime.now(UTC)


def _whole(
    trials: Pilot,
    count: RowEstimate,
    prepared: PreparedJob,
    units: int,
    around_s: float,
    past: Sequence[PastRun],
    session_s: float,
) -> RunEstimate:
    """The run here, as the pilot predicts it and past runs correct it."""
    amount, shape = trials.amount(count.rows, prepared.pinned.size_bytes), trials.shape(around_s)
    mid = shape.seconds(amount, units, shape.slots)
    unsure = unsure_of(trials, count.rows, trials.stray(amount) / mid)
    ratios = [
        (one.wall_s + session_s + trials.cold.pages_s)
        / shape.seconds(amount.times(one.rows / count.rows), one.units, one.slots)
        for one in run_history.comparable(past, shape.slots)
    ]
    return RunEstimate(shape, amount, units, blend(mid, unsure, ratios))


def unsure_of(trials: Pilot, rows: int, stray: float) -> float:
    """The pilot's relative standard deviation: its trials' scatter, and how far it is to the whole."""
    largest = max(trial.amount.rows for trial in trials.warm)
    far = _LARGE_STEP * math.log(max(rows / max(largest, 1.0), 1.0))
    return math.hypot(min(stray, 1.0), math.hypot(_PILOT_UNSURE, far))


def _forecast(
    prepared: PreparedJob,
    whole: RunEstimate,
    trials: Pilot,
    count: RowEstimate,
    past: Sequence[PastRun],
    deadline_s: float | None,
    waiting: float,
) -> Forecast:
    job, rate = prepared.job, prepared.rate
    name = job.cost.instance if job.cost else "this session"
    here = alternatives.here(whole, name, rate.instance if rate else None)
    others: list[Offer] = []
    if job.cost and rate:
        book = price_book(job.cost.prices)
        speeds = _speeds(whole, past, rate.instance.sku)
        others = alternatives.elsewhere(whole, book.instances, speeds)
    every = [here, *others]
    return Forecast(
        job.name, count, whole.units, trials, here, tuple(others), tuple(alternatives.front(every)),
        alternatives.cheapest(every, deadline_s), deadline_s, rate.currency if rate else None, len(past),
        tuple(_notes(prepared, trials, count, past, others)) + _busy(waiting),
    )  # fmt: skip


def _speeds(whole: RunEstimate, past: Sequence[PastRun], sku: str) -> dict[str, float]:
    """By instance, how fast a core was in past runs there, one here, which the job names, being 1."""
    found = {sku: 1.0}
    a_row = whole.shape.growing.growing_s(whole.amount) * whole.shape.slots / whole.amount.rows
    for name in {one.instance for one in past if one.instance} - {sku}:
        runs_there = [one for one in past if one.instance == name]
        slots = runs_there[-1].slots
        there = run_history.inference(runs_there, slots).per_row_s * slots
        if there > 0:
            found[name] = a_row / there
    return found


def _busy(waiting: float) -> tuple[str, ...]:
    """What to say where so many tasks ran or waited before the plan began."""
    cores = os.cpu_count() or 1
    text = f"the machine was busy before: {waiting:.1f} tasks ran or waited for {cores} cores"
    return (f"{text}; on a quiet one a run takes less",) if waiting >= _BUSY * cores else ()


def _notes(
    prepared: PreparedJob,
    trials: Pilot,
    count: RowEstimate,
    past: Sequence[PastRun],
    others: Sequence[Offer],
) -> list[str]:
    """What the forecast does not know, and what it assumes."""
    found = []
    if not count.is_exact:
        found.append(f"the number of rows is an estimate: {count.counted_from}")
    if not past:
        found.append("no past run of this job and model tells how much runs differ")
    grown = [trial.grown_s for trial in trials.warm]
    if max(grown) - min(grown) < _SMALL_S:
        found.append("the pilot is small: what it took hardly grew with its rows")
    if not trials.from_all_over:
        found.append("the pilot's rows are from the beginning of the input's only file")
    if prepared.rate is None:
        found.append("no price book: cost.prices and cost.instance give costs and other instances")
    if any(not one.is_measured for one in others):
        found.append(
            "other instances were not measured: a core there is taken to be as fast as one here; the"
            " part of the time that grows with rows is divided by the slots, the rest is not"
        )
    last = runs.last_event(prepared.lake, prepared.fingerprint)
    if last is not None and last["state"] == runs.DONE:
        found.append("this input is scored already: only with --fresh a run does it again")
    return found
