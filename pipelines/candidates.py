"""Which rows a replay takes up, fixed before it scores, and what became of each; the table ``replays``.

Rows are told apart by their key. One is taken up where the replayed run refused it, it has a key, and no
run that began with that one, or later, has scored it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines import ingest, sink
from pipelines.commits import Commits
from pipelines.progress import Progress
from pipelines.row_key import has_null, row_key
from pipelines.runs import Clock, Run
from pipelines.work import TAKEN, Replayed, Taken, Work
from schemas.tables import QUARANTINE, REPLAYS, RUNS

PLANNED, DONE = "planned", "done"
SCORED, NO_KEY, STRANGER = "scored", "no key", "stranger"  # why a key is not taken up
_FOLDER = "taken"


def taken_up(spark: SparkSession, work: Work, run: Run, progress: Progress, now: Clock) -> Work:
    """The work over the rows that the replay takes up, as its first attempt found them.

    Those that another replay has scored since then are left out. Work that replays nothing is given
    back as it is.
    """
    replays = work.replays
    if replays is None:
        return work
    label = f"finding the refused rows of {replays.run_id}"
    with progress.step(spark, run.run_id, "validate", label):
        name = _transaction(work, run, PLANNED)
        is_resumed = sink.committed(work.lake, REPLAYS.name, name)
        if not is_resumed:
            plan = _planned(spark, work, run, replays)
            rows = _as_rows(plan, run, replays, PLANNED, now)
            sink.append(rows, work.lake, REPLAYS, name, run.driver)
        wanted = _wanted(spark, work, run)
        if (
            is_resumed
        ):  # since the plan was made, a replay under another contract may have come between
            scored = _scored_since(spark, work, run, replays)
            wanted = wanted.join(scored, "key", "left_anti")
        keys = sink.stage(wanted.withColumnRenamed("key", TAKEN), run.driver.folder / _FOLDER)
        (told,) = keys.agg(F.count("*").alias("keys"), F.sum("rows_before").alias("rows")).collect()
    taken = (told["keys"] if replays.is_repaired else told["rows"]) or 0
    progress.say(f"  {told['keys']:,} keys to take up")
    found_nothing = replace(work.pinned, files=()) if not taken else work.pinned
    return replace(work, taken=Taken(keys.select(TAKEN), taken), pinned=found_nothing)


def tell_outcomes(
    spark: SparkSession, work: Work, run: Run, progress: Progress, now: Clock
) -> None:
    """Append what became of each key that the replay took up; once, and nothing for other runs."""
    if work.replays is None or work.taken is None:
        return
    name = _transaction(work, run, DONE)
    if sink.committed(work.lake, REPLAYS.name, name):
        return
    with progress.step(spark, run.run_id, "write", "telling what became of the refused rows"):
        keys = work.taken.keys.withColumnRenamed(TAKEN, "key")
        late = _wanted(spark, work, run).join(keys, "key", "left_anti")
        ended = _ended(spark, work, run, keys).unionByName(
            late.withColumn("left_out", F.lit(SCORED)), allowMissingColumns=True
        )
        rows = _as_rows(ended, run, work.replays, DONE, now)
        sink.append(rows, work.lake, REPLAYS, name, run.driver)


def _transaction(work: Work, run: Run, state: str) -> str:
    return Commits.of(work.lake, REPLAYS.name).name(f"{run.transaction()}:replay-{state}")


def _planned(spark: SparkSession, work: Work, run: Run, replays: Replayed) -> DataFrame:
    """Every key that the replayed run refused, its rows there, and why it is left out, if it is."""
    refused = _before(spark, work, replays)
    scored = _scored_since(spark, work, run, replays).withColumn("is_scored", F.lit(True))
    why = (
        F.when(has_null(F.col("key")), F.lit(NO_KEY))
        .when(F.col("is_scored"), F.lit(SCORED))
        .alias("left_out")
    )
    plan = refused.join(scored, "key", "left").select("key", "rows_before", why)
    return plan.unionByName(_strangers(spark, work, refused)) if replays.is_repaired else plan


def _wanted(spark: SparkSession, work: Work, run: Run) -> DataFrame:
    """The keys that the plan takes up, and how many rows each had."""
    mine = (F.col("run_id") == run.run_id) & (F.col("state") == PLANNED)
    plan = sink.read(spark, work.lake, REPLAYS.name).where(mine)
    return plan.where("left_out IS NULL").select("key", "rows_before")


def _before(spark: SparkSession, work: Work, replays: Replayed) -> DataFrame:
    """The keys of rows that the replayed run refused, or failed to score where those are wanted too."""
    mine = F.col("run_id") == replays.run_id
    keys = sink.read(spark, work.lake, QUARANTINE.name).where(mine).select("key")
    if replays.failed_too:
        made = sink.read(spark, work.lake, work.predictions.name).where(mine)
        keys = keys.unionByName(made.where("error IS NOT NULL").select(_key(work)))
    return keys.groupBy("key").agg(F.count("*").alias("rows_before"))


def _scored_since(spark: SparkSession, work: Work, run: Run, replays: Replayed) -> DataFrame:
    """The keys that runs of the job scored which began with the replayed one, or later."""
    begun = sink.values(work.lake, RUNS, [("job", "=", run.job), ("event", "=", 0)])
    since = [one["run_id"] for one in begun if one["number"] >= replays.number]
    others = [name for name in since if name != run.run_id]
    made = sink.read(spark, work.lake, work.predictions.name)
    good = made.where(F.col("run_id").isin(others)).where("error IS NULL")
    return good.select(_key(work)).distinct()


def _strangers(spark: SparkSession, work: Work, refused: DataFrame) -> DataFrame:
    """One line that counts the rows of the repaired source that are none of the refused ones."""
    given = ingest.read(spark, work.job.source, work.contract, work.pinned).select(_key(work))
    counted = given.join(refused, "key", "left_anti").agg(F.count("*").alias("rows_before"))
    return counted.where("rows_before > 0").select(
        F.lit(None).cast("string").alias("key"), "rows_before", F.lit(STRANGER).alias("left_out")
    )


def _ended(spark: SparkSession, work: Work, run: Run, keys: DataFrame) -> DataFrame:
    """The keys that were taken up, with the rows of each that this run scored, failed or refused."""
    mine = F.col("run_id") == run.run_id
    made = sink.read(spark, work.lake, work.predictions.name).where(mine)
    failed = F.col("error").isNotNull()
    counts = made.select(_key(work), failed.alias("is_failed")).groupBy("key")
    predicted = counts.agg(
        F.count_if(~F.col("is_failed")).alias("scored"), F.count_if("is_failed").alias("failed")
    )
    again = sink.read(spark, work.lake, QUARANTINE.name).where(mine)
    refused = again.groupBy("key").agg(F.count("*").alias("refused"))
    joined = keys.join(predicted, "key", "left").join(refused, "key", "left")
    return joined.select(
        "key",
        *[F.coalesce(name, F.lit(0)).alias(name) for name in ("scored", "failed", "refused")],
    )


def _key(work: Work) -> Column:
    return row_key(work.job.key).alias("key")


def _as_rows(rows: DataFrame, run: Run, replays: Replayed, state: str, now: Clock) -> DataFrame:
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
