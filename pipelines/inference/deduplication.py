"""Which rows of a run need no model: those of identical inputs, and those whose outputs are kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines import place, runs, sink
from pipelines.cache import INPUT, KNOWN, Cache
from pipelines.calibrate import Way, sample
from pipelines.input_hash import input_hash
from pipelines.runs import Run
from pipelines.task_times import tagged
from pipelines.work import Work
from schemas import cached
from schemas.errors import UsageError
from schemas.tables import Table
from udfs.plan import Plan

WORTH = 0.05  # share of repeated rows in the sample below which `auto` leaves them alone
# A row through the shuffle: hashed, written, read and sorted, on one core. Measured (docs/SAVING.md).
SHUFFLED_S = 50e-6


@dataclass(frozen=True)
class Reuse:
    """What a run's units do before and after they compute; nothing by default."""

    dedupe: bool = False
    cache: Cache | None = None
    why: str = ""

    @property
    def is_on(self) -> bool:
        """Whether rows need the hash of their inputs."""
        return self.dedupe or self.cache is not None

    def plan(self, plan: Plan) -> Plan:
        """What the workers are told."""
        return replace(
            plan,
            identity=INPUT if self.dedupe else None,
            known=KNOWN if self.cache else None,
            passthrough=(*plan.passthrough, INPUT) if self.cache else plan.passthrough,
        )

    def gathered(
        self, rows: DataFrame, inputs: tuple[str, ...], tasks: int, at: datetime
    ) -> DataFrame:
        """``rows`` in so many partitions, equal inputs beside each other, with outputs that are kept.

        The shuffle has a fixed number of partitions: one that Spark may join would leave slots idle.
        """
        if taken := {INPUT, KNOWN} & set(rows.columns):
            raise UsageError(
                "a column has a name that reusing outputs needs",
                got=", ".join(sorted(taken)),
                next="rename it, or set engine.dedupe: off and engine.cache: off",
            )
        named = rows.withColumn(INPUT, input_hash(rows, inputs)).repartition(tasks, INPUT)
        if self.cache is not None:
            named = self.cache.joined(named, inputs, at)
        return named.sortWithinPartitions(INPUT) if self.dedupe else named

    def keep(
        self,
        spark: SparkSession,
        run: Run,
        unit: int,
        committed: tuple[Table, str],
        at: datetime,
    ) -> None:
        """Keep the outputs of a unit, unless that is done; ``committed`` is its table and transaction."""
        if self.cache is None:
            return
        table, transaction = committed
        mine = (F.col("run_id") == run.run_id) & (F.col("unit") == unit)
        with tagged(spark, run.run_id, "write", unit):
            made = sink.read(spark, self.cache.lake, table.name).where(mine)
            rows = sink.count(self.cache.lake, table.name, run_id=run.run_id, unit=unit)
            self.cache.keep(made, rows, transaction, run.driver, at)


NOTHING = Reuse()


def reuse_of(spark: SparkSession, work: Work, run: Run, way: Way) -> Reuse:
    """What the job asks for; of `auto`, what a sample says. Raises UsageError where it cannot be done."""
    engine = work.job.engine
    if engine.dedupe == "off" and engine.cache == "off":
        return NOTHING
    _refuse_what_differs(work, way)
    cache = _cache(work, way) if engine.cache == "table" else None
    if engine.dedupe != "auto":
        return Reuse(engine.dedupe == "unit", cache, f"engine.dedupe is {engine.dedupe}")
    if cache is not None:  # the lookup gathers equal rows anyhow
        return Reuse(True, cache, "the cache needs the shuffle in any case")
    share = _repeated(spark, work, run.run_id)
    is_on, why = worth(share, _rows_per_s(spark, work, way))
    return Reuse(is_on, None, why)


def worth(share: float, rows_per_s: float | None) -> tuple[bool, str]:
    """Whether gathering equal rows pays, by the share that repeats and one worker's speed; and why."""
    told = f"{share:.1%} of the sampled rows repeat others"
    if share < WORTH:
        return False, f"{told}, less than {WORTH:.0%}"
    if rows_per_s and share / rows_per_s < SHUFFLED_S:
        return False, f"{told}, but computing them takes less than the shuffle that finds them"
    return True, told


def _refuse_what_differs(work: Work, way: Way) -> None:
    """Raise UsageError for a model that may answer the same input differently.

    Our own sampling draws from seed and prompt alone; vLLM's has been given the same seeds, but nobody
    has seen that its draws depend on nothing else.
    """
    options = work.model.card.postprocess.options
    if way.runtime.backend == "vllm" and options.get("do_sample"):
        raise UsageError(
            "identical prompts may have other texts: they are not scored once",
            got="do_sample: true with backend vllm",
            allowed="do_sample with backend torch, whose draws depend on seed and prompt alone",
            next="set engine.dedupe: off and engine.cache: off, or engine.backend: torch",
        )


def _cache(work: Work, way: Way) -> Cache:
    signature, engine = work.model.card.signature, work.job.engine
    cache = Cache(
        work.lake,
        cached.cache(work.model.digest, signature),
        tuple(signature.outputs),
        way.computed_with,
        engine.cache_days,
        engine.cache_max_rows,
    )
    cache.make()
    return cache


def _repeated(spark: SparkSession, work: Work, run_id: str) -> float:
    """The share of sampled rows whose inputs another one has: less than that of the input, mostly."""
    rows = sample(spark, work)
    hashed = rows.select(input_hash(rows, rows.columns).alias(INPUT))
    with tagged(spark, run_id, "calibrate"):
        (told,) = hashed.agg(
            F.count("*").alias("rows"), F.count_distinct(INPUT).alias("n")
        ).collect()
    return 1 - told["n"] / told["rows"] if told["rows"] else 0.0


def _rows_per_s(spark: SparkSession, work: Work, way: Way) -> float | None:
    """One worker's speed: as it was measured before this run, or as the job's last run had it."""
    if way.rows_per_s:
        return way.rows_per_s
    last = runs.rows_per_s(work.lake, work.job.name, work.model.digest)
    return last and last / max(1, place.slots(spark))
