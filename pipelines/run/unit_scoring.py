"""One unit of a run: scored, committed once and counted. All effects on the lake are in `UnitScorer`."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession

from millrace.pipelines.accounting import ledger
from millrace.pipelines.inference import scoring
from millrace.pipelines.inference.deduplication import NO_REUSE, OutputReuse
from millrace.pipelines.inference.inference_config import InferenceConfig
from millrace.pipelines.inference.worker_plan import UnitTask, counts_folder, scorer
from millrace.pipelines.job import work_units
from millrace.pipelines.job.prepared_job import PreparedJob
from millrace.pipelines.job.work_units import Unit
from millrace.pipelines.lake import delta
from millrace.pipelines.lake.delta_history import Commits
from millrace.pipelines.lake.runs import Clock, Run
from millrace.pipelines.monitoring.monitor import RunMonitor
from millrace.pipelines.sources import reader
from millrace.pipelines.sources.snapshot import check_unchanged
from millrace.pipelines.spark import cluster
from millrace.pipelines.spark.job_tags import tagged
from millrace.pipelines.validation.verdict import Verdict
from millrace.pipelines.validation.violations import Mark, marked
from millrace.schemas.errors import TooManyFailed
from millrace.udfs.engine.batch_sizing import Ceilings
from millrace.udfs.engine.fault_injection import reached

TASKS_A_SLOT = 4  # at most, where files are small and many
ROWS_A_TASK = 4096  # at least, where there are many small files: what the engine orders at a time
_FEW = 32  # rows that may fail in any run, however small


@dataclass(frozen=True)
class ScoringInputs:
    """What scoring needs to know of a run, the same for all of its units."""

    prepared: PreparedJob
    run: Run
    marks: dict[str, Mark]  # of each rule that is not one row's predicate, what breaks it
    config: InferenceConfig
    rows: int  # of the whole input
    quarantined: int = 0

    @staticmethod
    def of(
        prepared: PreparedJob,
        run: Run,
        validated: tuple[dict[str, Mark], Verdict],
        config: InferenceConfig,
    ) -> ScoringInputs:
        """The inputs of a run that is validated."""
        marks, verdict = validated
        return ScoringInputs(prepared, run, marks, config, verdict.rows, verdict.quarantined)

    @property
    def may_fail(self) -> int:
        """Rows of the run that may have no prediction before it is given up."""
        return max(_FEW, math.ceil(self.prepared.job.run.max_failed * self.rows))

    def check_failed(self, failed: int) -> None:
        """Raise TooManyFailed where more rows failed than may."""
        if failed > self.may_fail:
            raise TooManyFailed(
                f"{failed:,} rows could not be scored",
                got=f"{failed / max(1, self.rows):.1%} of {self.rows:,} rows",
                allowed=f"run.max_failed {self.prepared.job.run.max_failed:.1%}",
                next="look at error in the predictions; then raise run.max_failed and run again",
            )


@dataclass(frozen=True)
class UnitScorer:
    """Scores units of a run in one session and commits them; two may do so at a time."""

    spark: SparkSession
    inputs: ScoringInputs
    now: Clock
    reuse: OutputReuse = NO_REUSE
    watch: RunMonitor | None = None  # None: the job measures nothing
    ceilings: Ceilings = field(default_factory=Ceilings)  # of memory, by what computes

    def transactions(self, units: Sequence[Unit]) -> dict[int, str]:
        """By number, the transaction that each unit is committed under."""
        history = Commits.of(self.inputs.prepared.lake, self.inputs.prepared.predictions.name)
        run = self.inputs.run
        return {unit.number: history.name(run.transaction(unit.number)) for unit in units}

    def counts_folder(self, unit: Unit) -> Path:
        """Where the unit's tasks write how many rows they have finished."""
        return counts_folder(self.inputs.run.driver.folder, unit.number)

    def learn_ceiling(self) -> None:
        """Begin below what ran out of memory in earlier units of any run that computed so."""
        computed_with = self.inputs.config.computed_with
        known = work_units.too_large(self.inputs.prepared.lake, computed_with)
        if known is not None:
            self.ceilings.failed(computed_with, known)

    def commit(self, unit: Unit, transaction: str) -> int:
        """Score and commit one unit; its failed rows."""
        prepared, run = self.inputs.prepared, self.inputs.run
        run.driver.may_commit()
        by = run.driver.only_if(partial(check_unchanged, unit.pinned))
        started = time.monotonic()
        with tagged(self.spark, run.run_id, "infer", unit.number):
            rows = self._predictions(unit)
            staged = None
            if self.watch is not None:
                staged = self.watch.staged(rows, unit.number, unit.expected_rows)
        step = "infer" if staged is None else "write"
        with tagged(self.spark, run.run_id, step, unit.number):
            reached("before_commit")
            made = rows if staged is None else staged
            delta.append(made, prepared.lake, prepared.predictions, transaction, by)
        reached("after_commit")
        failed = self.record(unit, transaction, time.monotonic() - started)
        self.keep_outputs(unit, transaction)
        return failed

    def record(self, unit: Unit, transaction: str, seconds: float) -> int:
        """Record that a unit is committed; its failed rows."""
        prepared, run = self.inputs.prepared, self.inputs.run
        computed_with = self.inputs.config.computed_with
        table = prepared.predictions.name
        counted = ledger.unit_counted(prepared.lake, table, run.run_id, unit.number)
        if counted.too_large is not None:
            self.ceilings.failed(computed_with, counted.too_large)
        counts = {**asdict(counted), "computed_with": computed_with}
        work_units.finished(prepared.lake, run, unit, transaction, seconds, self.now(), **counts)
        return counted.failed

    def keep_outputs(self, unit: Unit, transaction: str) -> None:
        """Cache a committed unit's outputs for later ones, and write its profile, where the job has these."""
        if self.watch is not None:
            self.watch.keep(unit.number, unit.expected_rows, transaction, self.now())
        committed = self.inputs.prepared.predictions, transaction
        self.reuse.keep(self.spark, self.inputs.run, unit.number, committed, self.now())

    def _predictions(self, unit: Unit) -> DataFrame:
        """The unit's accepted rows, scored, as the table of predictions has them."""
        prepared, run, config = self.inputs.prepared, self.inputs.run, self.inputs.config
        how = reader.ReadOptions(counts=self.counts_folder(unit))
        rows = marked(prepared.rows(self.spark, unit.pinned, how), self.inputs.marks)
        accepted = scoring.accepted(rows, prepared.rules, prepared.job, prepared.model)
        too_large = self.ceilings.least(config.computed_with)
        task = UnitTask(run.driver.folder, unit.number, self.inputs.may_fail, too_large)
        plan = scorer(self.spark, prepared, config, task)
        plan = replace(plan, plan=self.reuse.plan(plan.plan))
        spread = self._spread(unit, accepted)
        made = scoring.scored(spread, prepared.job, prepared.contract, prepared.model, plan)
        return scoring.with_run(
            made, prepared.predictions, run.run_id, unit.number, prepared.model, self.now()
        )

    def _spread(self, unit: Unit, accepted: DataFrame) -> DataFrame:
        """The rows over the slots: a task has enough of them to order by length, and no slot waits long.

        Of few files Spark makes a task a slot, and the one with longer texts ends later. Four tasks a slot
        were tried: what they gained in balance they lost in padding, having fewer rows to order.

        One task reads a file that Python parses, however many cores wait; and a Python that reads in the
        stage that scores would be a second worker a slot.
        """
        prepared, slots = self.inputs.prepared, cluster.slots(self.spark)
        if self.reuse.is_on:
            tasks = max(slots, min(TASKS_A_SLOT * slots, unit.expected_rows // ROWS_A_TASK))
            inputs = tuple(prepared.model.card.signature.inputs)
            return self.reuse.gathered(accepted, inputs, tasks, self.now())
        if reader.reads_in_python(prepared.job.source):
            return accepted.repartition(max(len(unit.pinned.files), slots))
        tasks = max(TASKS_A_SLOT * slots, unit.expected_rows // ROWS_A_TASK)
        return accepted.coalesce(tasks)
