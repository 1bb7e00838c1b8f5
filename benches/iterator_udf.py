"""Contestant: a scalar-iterator pandas UDF that loads the model once a process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import pandas as pd
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql.pandas.functions import pandas_udf

from benches import spark_stage
from benches.contestant import Told, told


def main(arguments: Sequence[str] | None = None) -> None:
    """Score the input."""
    task = told(__doc__, arguments)
    spark_stage.run(task, partial(score, task))


def score(task: Told, _spark: SparkSession, rows: DataFrame) -> DataFrame:
    """``rows`` with the model's outputs."""
    scored = _udf(task)(*task.task.columns).alias("scored")
    return rows.select(*task.task.carried, scored).select(*task.task.carried, "scored.*")


def _udf(task: Told) -> Callable[..., Column]:
    load, size = spark_stage.loader(task), task.task.batch_rows

    def predict(batches: Iterator[tuple[pd.Series, ...]]) -> Iterator[pd.DataFrame]:
        model = load()
        for batch in batches:
            columns = batch if isinstance(batch, tuple) else (batch,)
            parts = [
                model(*(column.to_numpy()[start : start + size] for column in columns))
                for start in range(0, len(columns[0]), size)
            ]
            yield pd.DataFrame(
                {name: [cell for part in parts for cell in part[name]] for name in parts[0]}
            )

    # Spark tells the kinds of UDF apart by annotation; with one column its batches are bare Series.
    kind = pd.Series if len(task.task.columns) == 1 else tuple[pd.Series, ...]
    predict.__annotations__ = {"batches": Iterator[kind], "return": Iterator[pd.DataFrame]}  # type: ignore[valid-type]
    return pandas_udf(predict, spark_stage.outputs_type(task))  # type: ignore[call-overload,no-any-return]


if __name__ == "__main__":
    main()
