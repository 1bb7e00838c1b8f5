"""Which rows a replay scores, fixed before it does, and the outcome of each; the table ``replays``.

Keys identify rows. A replay selects a row where the replayed run refused it, it has a key, and no
run that began with that one, or later, has scored it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from millrace.pipelines.console.progress import Progress
from millrace.pipelines.job.prepared_job import SELECTED_KEY, PreparedJob, ReplayedRun, RowSelection
from millrace.pipelines.lake import delta
from millrace.pipelines.lake.delta_history import Commits
from millrace.pipelines.lake.runs import Clock, Run
from millrace.pipelines.sources import reader
from millrace.pipelines.sources.row_key import has_null, row_key
from millrace.schemas.errors import UsageError
from millrace.schemas.tables import QUARANTINE, REPLAYS, RUNS

PLANNED, DONE = "planned", "done"
SCORED, NO_KEY, STRANGER = "scored", "no key", "stranger"  # why a key is not selected
_FOLDER = "taken"


def select_rows(
    spark: SparkSession, prepared: PreparedJob, run: Run, progress: Progress, now: Clock
) -> PreparedJob:
    """The job over the rows that the replay scores, as its first attempt selected them.

    Those that another replay has scored since then are left out. A job that replays nothing is
    returned as it is.
    """
    replays = prepared.replays
    if replays is None:
        return prepared
    label = f"finding the quarantined rows of {replays.run_id}"
    with progress.step(spark, run.run_id, "validate", label):
        name = _transaction(prepared, run, PLANNED)
        is_resumed = delta.committed(prepared.lake, REPLAYS.name, name)
        if not is_resumed:
            plan = _planned(spark, prepared, run, replays)
            rows = _as_rows(plan, run, replays, PLANNED, now)
            delta.append(rows, prepared.lake, REPLAYS, name, run.driver)
        wanted = _wanted(spark, prepared, run)
        if (
            is_resumed
        ):  # since the plan was made, a replay under another contract may have come between
            scored = _scored_since(spark, prepared, run, replays)
            wanted = wanted.join(scored, "key", "left_anti")
        keys = delta.stage(
            wanted.withColumnRenamed("key", SELECTED_KEY), run.driver.folder / _FOLDER
        )
        (counts,) = keys.agg(
            F.count("*").alias("keys"), F.sum("rows_before").alias("rows")
        ).collect()
    selected = (counts["keys"] if replays.is_repaired else counts["rows"]) or 0
    progress.say(f"  {counts['keys']:,} keys to take up")
    found_nothing = replace(prepared.pinned, files=()) if not selected else prepared.pinned
    return replace(
        prepared, selection=RowSelection(keys.select(SELECTED_KEY), selected), pinned=found_nothing
    )


def record_outcomes(
    spark: SparkSession, prepared: PreparedJob, run: Run, progress: Progress, now: Clock
) -> None:
    """Append the outcome of each key that the replay selected; once, and nothing for other runs."""
    if prepared.replays is None or prepared.selection is None:
        return
    name = _transaction(prepared, run, DONE)
    if delta.committed(prepared.lake, REPLAYS.name, name):
        return
    with progress.step(spark, run.run_id, "write", "telling what became of the quarantined rows"):
        keys = prepared.selection.keys.withColumnRenamed(SELECTED_KEY, "key")
        late = _wanted(spark, prepared, run).join(keys, "key", "left_anti")
        ended = _ended(spark, prepared, run, keys).unionByName(
            late.withColumn("left_out", F.lit(SCORED)), allowMissingColumns=True
        )
        rows = _as_rows(ended, run, prepared.replays, DONE, now)
        delta.append(rows, prepared.lake, REPLAYS, name, run.driver)


def planned(spark: SparkSession, prepared: PreparedJob, run: Run) -> DataFrame:
    """Return each key that the replayed run refused, its rows there, and why it is left out, or null.

    Nothing is written. Raises UsageError for work that replays no run.
    """
    if prepared.replays is None:
        raise UsageError("the job replays no run", next="millrace replay RUN JOB")
    return _planned(spark, prepared, run, prepared.replays)


def _transaction(prepared: PreparedJob, run: Run, state: str) -> str:
    return Commits.of(prepared.lake, REPLAYS.name).name(f"{run.transaction()}:replay-{state}")


def _planned(
    spark: SparkSession, prepared: PreparedJob, run: Run, replays: ReplayedRun
) -> DataFrame:
    """Every key that the replayed run refused, its rows there, and why it is left out, if it is."""
    refused = _before(spark, prepared, replays)
    scored = _scored_since(spark, prepared, run, replays).withColumn("is_scored", F.lit(True))
    why = (
        F.when(has_null(F.col("key")), F.lit(NO_KEY))
        .when(F.col("is_scored"), F.lit(SCORED))
        .alias("left_out")
    )
    plan = refused.join(scored, "key", "left").select("key", "rows_before", why)
    return plan.unionByName(_strangers(spark, prepared, refused)) if replays.is_repaired else plan


def _wanted(spark: SparkSession, prepared: PreparedJob, run: Run) -> DataFrame:
    """The keys that the plan selects, and how many rows each had."""
    mine = (F.col("run_id") == run.run_id) & (F.col("state") == PLANNED)
    plan = delta.read(spark, prepared.lake, REPLAYS.name).where(mine)
    return plan.where("left_out IS NULL").select("key", "rows_before")


def _before(spark: SparkSession, prepared: PreparedJob, replays: ReplayedRun) -> DataFrame:
    """The keys of rows that the replayed run refused, or failed to score where those are wanted too."""
    mine = F.col("run_id") == replays.run_id
    keys = delta.read(spark, prepared.lake, QUARANTINE.name).where(mine).select("key")
    if replays.failed_too:
        made = delta.read(spark, prepared.lake, prepared.predictions.name).where(mine)
        keys = keys.unionByName(made.where("error IS NOT NULL").select(_key(prepared)))
    return keys.groupBy("key").agg(F.count("*").alias("rows_before"))


def _scored_since(
    spark: SparkSession, prepared: PreparedJob, run: Run, replays: ReplayedRun
) -> DataFrame:
    """The keys that runs of the job scored which began with the replayed one, or later."""
    begun = delta.values(prepared.lake, RUNS, [("job", "=", run.job), ("event", "=", 0)])
    since = [one["run_id"] for one in begun if one["number"] >= replays.number]
    others = [name for name in since if name != run.run_id]
    made = delta.read(spark, prepared.lake, prepared.predictions.name)
    good = made.where(F.col("run_id").isin(others)).where("error IS NULL")
    return good.select(_key(prepared)).distinct()


def _strangers(spark: SparkSession, prepared: PreparedJob, refused: DataFrame) -> DataFrame:
    """One line that counts the rows of the repaired source that are none of the refused ones."""
    given = reader.read(spark, prepared.job.source, prepared.contract, prepared.pinned).select(
        _key(prepared)
    )
    counted = given.join(refused, "key", "left_anti").agg(F.count("*").alias("rows_before"))
    return counted.where("rows_before > 0").select(
        F.lit(None).cast("string").alias("key"), "rows_before", F.lit(STRANGER).alias("left_out")
    )


def _ended(spark: SparkSession, prepared: PreparedJob, run: Run, keys: DataFrame) -> DataFrame:
    """The selected keys, with the rows of each that this run scored, failed or refused."""
    mine = F.col("run_id") == run.run_id
    made = delta.read(spark, prepared.lake, prepared.predictions.name).where(mine)
    failed = F.col("error").isNotNull()
    counts = made.select(_key(prepared), failed.alias("is_failed")).groupBy("key")
    predicted = counts.agg(
        F.count_if(~F.col("is_failed")).alias("scored"), F.count_if("is_failed").alias("failed")
    )
    again = delta.read(spark, prepared.lake, QUARANTINE.name).where(mine)
    refused = again.groupBy("key").agg(F.count("*").alias("refused"))
    joined = keys.join(predicted, "key", "left").join(refused, "key", "left")
    return joined.select(
        "key",
        *[F.coalesce(name, F.lit(0)).alias(name) for name in ("scored", "failed", "refused")],
    )


def _key(prepared: PreparedJob) -> Column:
    return row_key(prepared.job.key).alias("key")


def _as_rows(rows: DataFrame, run: Run, replays: ReplayedRun, state: str, now: Clock) -> DataFrame:
    """``rows`` as the table has them; columns that they lack are null."""
    about: dict[str, Any] = {
        "run_id": run.run_id,
        "job": run.job,
        "replayed_run": replays.run_id,
        "state": state,
        "at": now(),
    }
    return rows.select(
        [
            F.col(column.name)
            if column.name in rows.columns
            else F.lit(about.get(column.name)).cast(column.type).alias(column.name)
            for column in REPLAYS.columns
        ]
    )
