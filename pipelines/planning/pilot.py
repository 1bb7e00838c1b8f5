"""A pilot: small parts of the input, validated, scored and accounted for as a run does, and timed.

It works in a scratch lake that is removed afterwards: no prediction remains. The first part is
scored in a cold session, with workers that have yet to start, and is as large as seconds allow. The
second is the first that finds tables there: it still is no like of what follows, and nothing is taken
from it. The others tell, by several sizes, what is fixed and what grows.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pyspark.sql import SparkSession

from millrace.pipelines.accounting import ledger
from millrace.pipelines.console.progress import Progress
from millrace.pipelines.inference import worker_plan
from millrace.pipelines.inference.calibration import sample
from millrace.pipelines.inference.inference_config import InferenceConfig
from millrace.pipelines.inference.time_model import Workload
from millrace.pipelines.job import size_estimate, work_units
from millrace.pipelines.job.prepared_job import PreparedJob
from millrace.pipelines.job.size_estimate import RowEstimate
from millrace.pipelines.lake import runs
from millrace.pipelines.lake.fencing import Driver
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.lake.runs import Clock, Run
from millrace.pipelines.planning.input_sample import InputSample, SampleRequest, cut
from millrace.pipelines.planning.pilot_trials import Pilot, PilotTrial
from millrace.pipelines.reporting import lake_page, run_page
from millrace.pipelines.run import inference_pass
from millrace.pipelines.run.bookkeeping import SessionResources, account
from millrace.pipelines.run.budget import BudgetTracker
from millrace.pipelines.run.unit_scoring import ScoringInputs, UnitScorer
from millrace.pipelines.run.validation_pass import validate_rows
from millrace.pipelines.sources import reader
from millrace.pipelines.sources.snapshot import pin
from millrace.pipelines.spark import cluster
from millrace.pipelines.spark.concurrency import background
from millrace.schemas.pinned import Pinned
from millrace.schemas.sources import ParquetSource

FIRST_ROWS = 64
COLD_S = 2.0  # of computing, at most, in the part that is scored cold
GROWS = 4  # times the rows of the one before, at least,
LEAPS = 16  # and at most, to what workers are busy with
GROWS_TO_S = 1.0  # for so long
SHARE = 8  # the largest part has at most an eighth of the rows,
LEAST_ROWS = 512  # or this many
ENOUGH_S = 4.0  # by which the largest part takes longer than the smallest: then the slope is known
FEWEST = 4  # trials that show the effect of size
LIMIT_S = 45.0  # no larger part is begun after so long
_METERED = ("decode_s", "compute_s", "convert_s", "emit_s")
_QUIET = Progress(quiet=True)


def measured(
    spark: SparkSession,
    prepared: PreparedJob,
    config: InferenceConfig,
    count: RowEstimate,
    now: Clock,
    plan_id: str,
) -> Pilot:
    """The trials, smallest first, until they suffice; their data is removed."""
    slots = cluster.slots(spark)
    with _scratch(prepared, plan_id) as scratch:
        drawn, pinned = _drawn(spark, prepared, scratch, count)
        bench = _Bench(
            spark, replace(drawn, lake=LakeLocation(scratch / "lake")), config, now, count.rows
        )
        largest = max(count.rows // SHARE, min(LEAST_ROWS, count.rows))
        first = _first_rows(config, slots, largest)
        parts: list[InputSample] = []

        def part(rows: int) -> InputSample:
            origins = prepared.contract.origins.values()
            columns = dict.fromkeys(head for origin in origins for head in origin.heads())
            request = SampleRequest(rows, count.rows, tuple(columns), slots)
            parts.append(cut(drawn.job.source, pinned, request, scratch / f"part-{len(parts)}"))
            return parts[-1]

        cold = bench.trial(part(_cold_rows(prepared, config, slots, first, largest)), cold=True)
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


def cold_read_s(spark: SparkSession, prepared: PreparedJob) -> float:
    """Seconds that reading takes longer in a session that has not read yet.

    Where ways to compute are measured before the first trial, that would not find reading cold.
    """
    took = []
    for _ in range(2):
        started = time.monotonic()
        sample(spark, prepared).write.format("noop").mode("overwrite").save()
        took.append(time.monotonic() - started)
    return max(0.0, took[0] - took[1])


def _first_rows(config: InferenceConfig, slots: int, largest: int) -> int:
    """Rows of the smallest part: a quarter of a second, where it is known how fast they go."""
    known = round(config.rows_per_s * slots / 4) if config.rows_per_s else FIRST_ROWS
    return max(1, min(max(FIRST_ROWS, known), largest // GROWS**2 or largest))


def _cold_rows(
    prepared: PreparedJob, config: InferenceConfig, slots: int, first: int, largest: int
) -> int:
    """Rows of the part that is scored cold: Java compiles what many rows go through, and only that."""
    known = config.rows_per_s or 1 / max(size_estimate.most_seconds(prepared.model, 1), 1e-9)
    return min(largest, max(first, round(COLD_S * known * slots)))


def _growth(last: PilotTrial) -> float:
    """By how much the next part is larger."""
    return min(LEAPS, max(GROWS, GROWS_TO_S / max(last.metered_s, 1e-3)))


def _enough(warm: Sequence[PilotTrial]) -> bool:
    return len(warm) >= FEWEST - 1 and warm[-1].grown_s - warm[0].grown_s >= ENOUGH_S


@contextmanager
def _scratch(prepared: PreparedJob, plan_id: str) -> Iterator[Path]:
    """A folder that is gone afterwards."""
    driver = Driver.at(prepared.lake, plan_id)
    driver.begin()
    try:
        yield driver.folder
    finally:
        driver.end()


def _drawn(
    spark: SparkSession, prepared: PreparedJob, scratch: Path, count: RowEstimate
) -> tuple[PreparedJob, Pinned]:
    """The work, and what parts are cut from: of a Delta table, a sample of it in Parquet files."""
    if prepared.pinned.format != "delta":
        return prepared, prepared.pinned
    wanted = max(count.rows / SHARE, LEAST_ROWS) * 1.2
    rows = reader.read(spark, prepared.job.source, prepared.contract, prepared.pinned)
    folder = scratch / "drawn"
    sampled = rows.sample(min(1.0, wanted / max(1, count.rows)), seed=1)
    sampled.write.parquet(str(folder))
    source = ParquetSource(format="parquet", path=str(folder))
    job = prepared.job.model_copy(update={"source": source})
    return replace(prepared, job=job), pin(source)


@dataclass
class _Bench:
    """Where trials are made, one after the other, in one scratch lake."""

    spark: SparkSession
    prepared: PreparedJob  # whose lake is scratch
    config: InferenceConfig
    now: Clock
    rows: int  # of the whole input
    made: int = 0

    def trial(self, part: InputSample, *, cold: bool = False) -> PilotTrial:
        """Validate, score and account for a part, as a run does."""
        self.made += 1
        job = self.prepared.job.model_copy(update={"source": part.source})
        prepared = replace(self.prepared, job=job, pinned=part.pinned)
        run = self._run(prepared)
        run.driver.begin()
        resources = SessionResources.of(self.spark)
        started = time.monotonic()
        with background(self.spark, 1) as submit:
            if cold:
                submit(
                    worker_plan.warm, self.spark, prepared, run.run_id, self.config
                ).add_done_callback(
                    lambda done: done.exception()  # scoring reports what prevents it
                )
            marks, verdict = validate_rows(self.spark, prepared, run, _QUIET, self.now)
        validated = time.monotonic()
        inputs = ScoringInputs(prepared, run, marks, self.config, self.rows)
        units = [work_units.Unit(0, part.pinned, verdict.rows)]
        units = work_units.planned(prepared.lake, run, units, self.now())
        scorer = UnitScorer(self.spark, inputs, self.now)
        inference_pass.score_units(scorer, BudgetTracker(), units, _QUIET)
        scored = time.monotonic()
        account(prepared, run, resources, verdict, 1, self.now(), _QUIET)
        accounted = time.monotonic()
        runs.append_event(prepared.lake, run, runs.DONE, self.now())
        run_page.write(prepared.lake, run.run_id)
        lake_page.write(prepared.lake)
        paged = time.monotonic()
        tokens, metered_s = self._metered(prepared, run)
        size = part.share * self.of_bytes
        return PilotTrial(
            Workload(verdict.rows, tokens, size),
            validated - started,
            scored - validated,
            min(metered_s, scored - validated),
            accounted - scored,
            paged - accounted,
        )

    def _metered(self, prepared: PreparedJob, run: Run) -> tuple[int, float]:
        """Tokens of a trial, and the seconds of a slot by workers' own clocks."""
        meters = ledger.counted(prepared.lake, prepared.predictions.name, run.run_id).meters
        slots = cluster.slots(self.spark)
        metered_s = sum(meter[lap] for meter in meters for lap in _METERED) / slots
        return sum(meter["tokens"] or 0 for meter in meters), metered_s

    @property
    def of_bytes(self) -> int:
        """Bytes of the whole input; 0 where the source has no sizes."""
        return self.prepared.pinned.size_bytes

    def _run(self, prepared: PreparedJob) -> Run:
        model = prepared.model
        facts = runs.facts(
            prepared.pinned.summary(), model.card.title, model.digest, prepared.settings
        )
        application = cluster.application(self.spark)
        name = f"pilot-{self.made}"
        run = Run(
            name,
            name,
            prepared.job.name,
            facts,
            Driver.at(prepared.lake, name),
            application=application,
        )
        return runs.append_event(prepared.lake, run, "started", self.now(), held_since=self.now())
