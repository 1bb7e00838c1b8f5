"""Outputs that outlive their run: a table of each model's, filled from what units committed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from millrace.pipelines.lake import delta
from millrace.pipelines.lake.fencing import Driver
from millrace.pipelines.lake.location import LakeLocation
from millrace.schemas.cached import KEY
from millrace.schemas.rule import quoted
from millrace.schemas.tables import TRUNCATED, Table

INPUT = "_input"  # the hash, a column of the rows
KNOWN = "_known"  # outputs that were found under it


@dataclass(frozen=True)
class OutputCache:
    """One model's cached outputs: their table, how they are computed, and the limits of age and number."""

    lake: LakeLocation
    table: Table
    outputs: tuple[str, ...]
    computed_with: str
    days: int
    max_rows: int

    def make(self) -> None:
        """Make the table where it is not there: two units that both did would be in each other's way."""
        delta.append_values([], self.lake, self.table, "millrace:cache")

    def found(self, spark: SparkSession, at: datetime) -> DataFrame:
        """What may be taken now: `INPUT`, each once, and `KNOWN`, the outputs."""
        stored = delta.read(spark, self.lake, self.table.name).where(
            (F.col("computed_with") == self.computed_with)
            & (F.col("at") >= F.lit(at - timedelta(days=self.days)))
        )
        # Two concurrent runs may both have cached one; a join with two would duplicate the row.
        named = stored.select(F.col(KEY).alias(INPUT), F.col("outputs").alias(KNOWN))
        return named.dropDuplicates([INPUT])

    def joined(self, rows: DataFrame, inputs: tuple[str, ...], at: datetime) -> DataFrame:
        """``rows`` with `KNOWN`; those that have it are without hash, and without what the model reads.

        Without hash, so that they are not cached again.
        """
        found = rows.join(self.found(rows.sparkSession, at), INPUT, "left")
        is_new, left_out = F.col(KNOWN).isNull(), (*inputs, INPUT)
        return found.select(
            *[
                F.when(is_new, F.col(quoted(name))).alias(name)
                if name in left_out
                else F.col(quoted(name))
                for name in rows.columns
            ],
            KNOWN,
        )

    def keep(self, made: DataFrame, rows: int, transaction: str, by: Driver, at: datetime) -> None:
        """Cache the outputs of a unit's committed ``rows``, once; then remove what is too old, or too much.

        Failed rows are not cached: the fault may have been temporary. Nor are rows whose text was
        truncated: outputs alone do not show it.
        """
        name = f"{transaction}:cache"
        if delta.committed(self.lake, self.table.name, name):
            return
        # Only of the unit: what reads the cache and appends to it would conflict with whoever appends too.
        is_whole = F.col("error").isNull() & ~F.array_contains("warnings", TRUNCATED)
        new = made.where(is_whole & F.col(INPUT).isNotNull()).dropDuplicates([INPUT])
        if rows > self.max_rows:  # all in one task: not unless it must be
            new = new.limit(self.max_rows)
        values = {
            KEY: F.col(INPUT),
            "computed_with": F.lit(self.computed_with),
            "outputs": F.struct(*map(quoted, self.outputs)),
            "run_id": F.col("run_id"),
            "at": F.col("scored_at"),
        }
        columns = [values[column.name].alias(column.name) for column in self.table.columns]
        delta.append(new.select(*columns), self.lake, self.table, name, by)
        self._make_room(at)

    def _make_room(self, at: datetime) -> None:
        """Take out what has expired, and the oldest above the cap, a unit's rows at a time."""
        files = sorted(delta.added(self.lake, self.table.name, "at"))
        before = at - timedelta(days=self.days)
        rows = sum(count for _, count in files)
        for newest, count in files:
            if rows <= self.max_rows:
                break
            # Statistics have whole milliseconds.
            before, rows = max(before, newest + timedelta(milliseconds=1)), rows - count
        if files and files[0][0] < before:
            delta.remove_older(self.lake, self.table, "at", before)
