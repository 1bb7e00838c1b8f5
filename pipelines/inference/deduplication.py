"""Which rows of a run need no model: those of identical inputs, and those with cached outputs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from millrace.pipelines.inference.calibration import sample
from millrace.pipelines.inference.inference_config import InferenceConfig
from millrace.pipelines.inference.input_hash import input_hash
from millrace.pipelines.inference.output_cache import INPUT, KNOWN, OutputCache
from millrace.pipelines.job.prepared_job import PreparedJob
from millrace.pipelines.lake import delta, runs
from millrace.pipelines.lake.runs import Run
from millrace.pipelines.spark import cluster
from millrace.pipelines.spark.job_tags import tagged
from millrace.schemas import cached
from millrace.schemas.errors import UsageError
from millrace.schemas.tables import Table
from millrace.udfs.runtime.plan import Plan

WORTH = 0.05  # share of repeated rows in the sample below which `auto` leaves them alone
# A row through the shuffle: hashed, written, read and sorted, on one core. Measured (docs/SAVING.md).
SHUFFLED_S = 50e-6


@dataclass(frozen=True)
class OutputReuse:
    """What a run's units do before and after they compute; nothing by default."""

    dedupe: bool = False
    cache: OutputCache | None = None
    why: str = ""

    @property
    def is_on(self) -> bool:
        """Whether rows need the hash of their inputs."""
        return self.dedupe or self.cache is not None

    def plan(self, plan: Plan) -> Plan:
        """The workers' plan with it."""
        return replace(
            plan,
            identity=INPUT if self.dedupe else None,
            known=KNOWN if self.cache else None,
            passthrough=(*plan.passthrough, INPUT) if self.cache else plan.passthrough,
        )

    def gathered(
        self, rows: DataFrame, inputs: tuple[str, ...], tasks: int, at: datetime
    ) -> DataFrame:
        """``rows`` in so many partitions, equal inputs next to each other, with cached outputs.

        The shuffle has a fixed number of partitions: one that Spark may join would leave slots idle.
        """
        if reserved := {INPUT, KNOWN} & set(rows.columns):
            raise UsageError(
                "a column has a name that reusing outputs needs",
                got=", ".join(sorted(reserved)),
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
            made = delta.read(spark, self.cache.lake, table.name).where(mine)
            rows = delta.count(self.cache.lake, table.name, run_id=run.run_id, unit=unit)
            self.cache.keep(made, rows, transaction, run.driver, at)


NO_REUSE = OutputReuse()


def choose_reuse(
    spark: SparkSession, prepared: PreparedJob, run: Run, config: InferenceConfig
) -> OutputReuse:
    """What the job asks for; of `auto`, what a sample says. Raises UsageError where it cannot be done."""
    engine = prepared.job.engine
    if engine.dedupe == "off" and engine.cache == "off":
        return NO_REUSE
    _refuse_what_differs(prepared, config)
    cache = _cache(prepared, config) if engine.cache == "table" else None
    if engine.dedupe != "auto":
        return OutputReuse(engine.dedupe == "unit", cache, f"engine.dedupe is {engine.dedupe}")
    if cache is not None:  # the lookup gathers equal rows anyhow
        return OutputReuse(True, cache, "the cache needs the shuffle in any case")
    share = _repeated(spark, prepared, run.run_id)
    is_on, why = worth(share, _rows_per_s(spark, prepared, config))
    return OutputReuse(is_on, None, why)


def worth(share: float, rows_per_s: float | None) -> tuple[bool, str]:
    """Whether gathering equal rows pays, by the share that repeats and one worker's speed; and why."""
    found = f"{share:.1%} of the sampled rows repeat others"
    if share < WORTH:
        return False, f"{found}, less than {WORTH:.0%}"
    if rows_per_s and share / rows_per_s < SHUFFLED_S:
        return False, f"{found}, but computing them takes less than the shuffle that finds them"
    return True, found


def _refuse_what_differs(prepared: PreparedJob, config: InferenceConfig) -> None:
    """Raise UsageError for a model that may answer the same input differently.

    Our own sampling draws from seed and prompt alone; vLLM's has been given the same seeds, but nobody
    has seen that its draws depend on nothing else.
    """
    step = prepared.model.card.postprocess
    if config.runtime.backend == "vllm" and step.name == "generate" and step.options.do_sample:
        raise UsageError(
            "identical prompts may have other texts: they are not scored once",
            got="do_sample: true with backend vllm",
            allowed="do_sample with backend torch, whose draws depend on seed and prompt alone",
            next="set engine.dedupe: off and engine.cache: off, or engine.backend: torch",
        )


def _cache(prepared: PreparedJob, config: InferenceConfig) -> OutputCache:
    signature, engine = prepared.model.card.signature, prepared.job.engine
    cache = OutputCache(
        prepared.lake,
        cached.cache(prepared.model.digest, signature),
        tuple(signature.outputs),
        " ".join((config.computed_with, *map(str, prepared.model.computed_as.values()))),
        engine.cache_days,
        engine.cache_max_rows,
    )
    cache.make()
    return cache


def _repeated(spark: SparkSession, prepared: PreparedJob, run_id: str) -> float:
    """The share of sampled rows whose inputs another one has: less than that of the input, mostly."""
    rows = sample(spark, prepared)
    hashed = rows.select(input_hash(rows, rows.columns).alias(INPUT))
    with tagged(spark, run_id, "calibrate"):
        (found,) = hashed.agg(
            F.count("*").alias("rows"), F.count_distinct(INPUT).alias("n")
        ).collect()
    return 1 - found["n"] / found["rows"] if found["rows"] else 0.0


def _rows_per_s(
    spark: SparkSession, prepared: PreparedJob, config: InferenceConfig
) -> float | None:
    """One worker's speed: as it was measured before this run, or as the job's last run had it."""
    if config.rows_per_s:
        return config.rows_per_s
    last = runs.rows_per_s(prepared.lake, prepared.job.name, prepared.model.digest)
    return last and last / max(1, cluster.slots(spark))
