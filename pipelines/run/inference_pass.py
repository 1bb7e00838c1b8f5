"""The inference pass: the units that are left, two at a time, each committed once and counted."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from functools import partial
from typing import Any

from pyspark.sql import SparkSession

from millrace.pipelines.console.progress import Progress
from millrace.pipelines.console.progress_state import Spent, Tally
from millrace.pipelines.inference.deduplication import choose_reuse
from millrace.pipelines.inference.inference_config import InferenceConfig
from millrace.pipelines.inference.worker_timeouts import patient
from millrace.pipelines.job import work_units
from millrace.pipelines.job.prepared_job import PreparedJob
from millrace.pipelines.job.work_units import Unit
from millrace.pipelines.lake import delta, runs
from millrace.pipelines.lake.runs import Clock
from millrace.pipelines.monitoring.monitor import RunMonitor
from millrace.pipelines.run.budget import BudgetTracker, track_budget
from millrace.pipelines.run.unit_scoring import ScoringInputs, UnitScorer
from millrace.pipelines.sources import reader
from millrace.pipelines.spark import cluster
from millrace.pipelines.spark.concurrency import background
from millrace.pipelines.spark.py4j_cleanup import sweeping
from millrace.udfs.runtime.row_counts import counts_in

# The second fills the slots that the first one's slowest tasks leave: Spark gives them to the older job
# first. Fair pools would share them, and both units would be late.
AT_ONCE = 2


@dataclass(frozen=True)
class InferenceResult:
    """What the pass did: the run's units, the seconds of this attempt, and what a user should know."""

    units: int
    infer_s: float
    forecast: dict[str, Any] | None  # of seconds and cost, before scoring
    warnings: tuple[str, ...]


def score(
    spark: SparkSession,
    inputs: ScoringInputs,
    watch: RunMonitor | None,
    progress: Progress,
    now: Clock,
) -> InferenceResult:
    """Plan the run's units, score those that no earlier attempt committed, and compare their outputs.

    Raises TooManyFailed or BudgetExceeded between units, and whatever stops a unit; the others stay
    committed.
    """
    prepared, run, config = inputs.prepared, inputs.run, inputs.config
    reuse = choose_reuse(spark, prepared, run, config)
    tracker = track_budget(spark, prepared, run, config, now)
    units = work_units.planned(prepared.lake, run, cut_units(spark, prepared, config), now())
    scorer = UnitScorer(spark, inputs, now, reuse, watch)
    infer_s = score_units(scorer, tracker, units, progress)
    warnings = watch.output_warnings(now()) if watch else []
    return InferenceResult(len(units), infer_s, tracker.forecast, tuple(warnings))


def cut_units(spark: SparkSession, prepared: PreparedJob, config: InferenceConfig) -> list[Unit]:
    """Units of about `unit_minutes` at the speed that is known now."""
    slots = cluster.slots(spark)
    per_s = config.rows_per_s and config.rows_per_s * slots
    per_s = per_s or runs.rows_per_s(prepared.lake, prepared.job.name, prepared.model.digest)
    return work_units.cut(
        prepared.pinned, 60 * prepared.job.run.unit_minutes, per_s, prepared.expected_rows
    )


def score_units(
    scorer: UnitScorer, tracker: BudgetTracker, units: Sequence[Unit], progress: Progress
) -> float:
    """Score and commit the units that no earlier attempt committed; the seconds that took."""
    started, inputs, spark = time.monotonic(), scorer.inputs, scorer.spark
    scorer.learn_ceiling()
    names = scorer.transactions(units)
    left, failed = _left(scorer, units, names)
    inputs.check_failed(
        failed
    )  # a run that was given up for them is not done because it is run again
    if before := len(units) - len(left):
        progress.say(f"  {before} of {len(units)} units are committed: they are not scored again")
    if not left:
        return 0.0
    _say_begin(scorer, tracker, left, progress)
    tally = _tally(inputs, tracker, units, left, failed)
    title = f"scoring with {inputs.prepared.model.card.title}"
    with (
        patient(spark, inputs.prepared, inputs.config),
        sweeping() as sweep,
        progress.step(spark, inputs.run.run_id, "infer", title, tally),
    ):
        for unit, rows in _committed(scorer, tracker, tally, left, names):
            failed += rows
            tally.ends(unit.number, unit.expected_rows, rows)
            shutil.rmtree(scorer.counts_folder(unit), ignore_errors=True)
            progress.tell("unit", "committed", unit=unit.number, **tally.facts())
            inputs.check_failed(failed)
            sweep()
    return round(time.monotonic() - started, 3)


def _say_begin(
    scorer: UnitScorer, tracker: BudgetTracker, left: Sequence[Unit], progress: Progress
) -> None:
    """Say what it will cost, what computes, and what becomes of identical rows. Raises BudgetExceeded."""
    if text := tracker.begin(sum(unit.expected_rows for unit in left)):
        progress.say(text)
    config, reuse = scorer.inputs.config, scorer.reuse
    runtime = config.runtime
    progress.say(f"  computing with {runtime.backend} {runtime.precision}: {config.why}")
    if reuse.why:
        how = "are computed once" if reuse.dedupe else "are computed each"
        progress.say(f"  identical rows {how}: {reuse.why}")


def _tally(
    inputs: ScoringInputs,
    tracker: BudgetTracker,
    units: Sequence[Unit],
    left: Sequence[Unit],
    failed: int,
) -> Tally:
    """How far the run is: what is ahead, what earlier attempts did, and where the money is counted."""
    tally = Tally(quarantined=inputs.quarantined)
    expected = sum(unit.expected_rows for unit in units)
    tally.counted = inputs.rows / expected if expected else 1.0
    tally.rows_total = tally.counted * sum(unit.expected_rows for unit in left)
    tally.units_total, tally.units_done = len(units), len(units) - len(left)
    tally.failed, tally.began = failed, time.monotonic()
    tally.accepted = 1 - tally.quarantined / max(1, inputs.rows)
    tally.is_read_apart = reader.reads_in_python(inputs.prepared.job.source)
    if tracker.second is not None:
        tally.spent = lambda rows: Spent(
            tracker.spent, tracker.end(rows), tracker.budget, tracker.currency
        )
    return tally


def _left(
    scorer: UnitScorer, units: Sequence[Unit], names: dict[int, str]
) -> tuple[list[Unit], int]:
    """The units that are not committed, and the failed rows of those that are."""
    prepared, run = scorer.inputs.prepared, scorer.inputs.run
    there = delta.transactions(prepared.lake, prepared.predictions.name, names.values())
    recorded = work_units.failures(prepared.lake, run)
    left, failed = [], 0
    for unit in units:
        name = names[unit.number]
        if name not in there:
            left.append(unit)
            continue
        # A driver may have died between the commit and its record, or before it cached the outputs.
        failed += recorded[name] if name in recorded else scorer.record(unit, name, 0.0)
        scorer.keep_outputs(unit, name)
    return left, failed


def _committed(
    scorer: UnitScorer,
    tracker: BudgetTracker,
    tally: Tally,
    left: Sequence[Unit],
    names: dict[int, str],
) -> Iterator[tuple[Unit, int]]:
    """Each unit with its failed rows, as they are committed. Raises BudgetExceeded between units."""
    rest = list(left)
    with background(scorer.spark, AT_ONCE) as submit:
        running: dict[Future[int], tuple[Unit, float]] = {}
        while rest or running:
            while rest and len(running) < AT_ONCE:
                running_rows = [unit.expected_rows for unit, _ in running.values()]
                if not tracker.admits(rest[0].expected_rows, running_rows):
                    break
                unit = rest.pop(0)
                future = submit(scorer.commit, unit, names[unit.number])
                running[future] = unit, tracker.elapsed_s()
                counts = partial(counts_in, scorer.counts_folder(unit))
                tally.begins(unit.number, unit.expected_rows, counts)
            if not running:
                raise tracker.stop(rest[0].expected_rows, len(rest))
            for one in wait(running, return_when=FIRST_COMPLETED).done:
                unit, started_s = running.pop(one)
                failed = one.result()
                tracker.finished(unit.expected_rows, started_s)
                yield unit, failed
