"""Contestant: a model packaged with MLflow, called through `mlflow.pyfunc.spark_udf`.

Runs in its own environment, which has pyspark and Delta besides MLflow.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from typing import Any

import mlflow
import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from benches import spark_stage
from benches.contestant import Told, told
from benches.workloads import WORKLOADS


class Packaged(mlflow.pyfunc.PythonModel):  # type: ignore[misc,name-defined]
    """The plain model as MLflow wants it: pandas in, pandas out, a batch at a time inside."""

    def __init__(self, name: str, model: str, left: str) -> None:
        self.name, self.folder, self.left = name, model, left

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:  # noqa: ARG002
        """All outputs; MLflow picks the columns of the result type by name."""
        workload = WORKLOADS[self.name]
        model = spark_stage.model(self.name, self.folder, self.left)
        columns = [model_input[name].to_numpy() for name in workload.columns]
        size = workload.batch_rows
        parts = [
            model(*(column[start : start + size] for column in columns))
            for start in range(0, len(model_input), size)
        ]
        return pd.DataFrame(
            {name: [cell for part in parts for cell in part[name]] for name in parts[0]}
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Score the input."""
    task = told(__doc__, arguments)
    os.environ["MLFLOW_TRACKING_URI"] = (task.output / "mlruns").as_uri()
    spark_stage.run(task, partial(score, task))


def score(task: Told, spark: SparkSession, rows: DataFrame) -> DataFrame:
    """``rows`` with the model's outputs."""
    package = task.output / "packaged"
    left = str(task.marks)
    mlflow.pyfunc.save_model(
        package,
        python_model=Packaged(task.task.name, str(task.model), left),
        pip_requirements=[
            "mlflow-skinny"
        ],  # not asked of any index: the environment is there already
    )
    predict = mlflow.pyfunc.spark_udf(
        spark, str(package), result_type=spark_stage.outputs_type(task), env_manager="local"
    )
    scored = predict(F.struct(*task.task.columns)).alias("scored")
    return rows.select(*task.task.carried, scored).select(*task.task.carried, "scored.*")


if __name__ == "__main__":
    main()
