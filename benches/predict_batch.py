"""Contestant: pyspark's own `predict_batch_udf`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from inspect import Parameter, Signature
from typing import Any

from pyspark.ml.functions import predict_batch_udf
from pyspark.sql import DataFrame, SparkSession

from benches import spark_stage
from benches.contestant import Told, told


def main(arguments: Sequence[str] | None = None) -> None:
    """Score the input."""
    task = told(__doc__, arguments)
    spark_stage.run(task, partial(score, task))


def score(task: Told, _spark: SparkSession, rows: DataFrame) -> DataFrame:
    """``rows`` with the model's outputs. Columns enter one by one: numpy stacks them faster than Spark."""
    predict = predict_batch_udf(
        _maker(task),
        return_type=spark_stage.outputs_type(task),
        batch_size=task.task.batch_rows,
    )
    scored = predict(*task.task.columns).alias("scored")
    return rows.select(*task.task.carried, scored).select(*task.task.carried, "scored.*")


def _maker(task: Told) -> Callable[[], Callable[..., Any]]:
    """What `predict_batch_udf` calls once a process."""
    load, columns = spark_stage.loader(task), task.task.columns

    def make() -> Callable[..., Any]:
        model = load()

        def predict(*cells: Any) -> Any:
            return model(*cells)

        # It counts the named parameters to tell one array of many values from many columns.
        named = [Parameter(name, Parameter.POSITIONAL_ONLY) for name in columns]
        predict.__signature__ = Signature(named)  # type: ignore[attr-defined]
        return predict

    return make


if __name__ == "__main__":
    main()
