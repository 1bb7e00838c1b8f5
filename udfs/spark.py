"""The engine as Spark sees it: a pandas UDF that SQL can call, and its Arrow twin."""

from __future__ import annotations

import importlib
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
import pyarrow as pa
from pyspark import TaskContext
from pyspark.sql import Column
from pyspark.sql.pandas.functions import pandas_udf
from pyspark.sql.pandas.types import from_arrow_schema

from schemas.model import ModelCard
from schemas.types import arrow_type
from udfs.engine import Plan, output_schema, score
from udfs.meter import Meter, Place
from udfs.models import base
from udfs.process import fresh_since

Batches = Iterator[pa.RecordBatch]
# What Spark tells apart by annotation: one column comes as a Series, several as a tuple of them.
Series = pd.Series | tuple[pd.Series, ...]


@dataclass(frozen=True)
class Scorer:
    """Everything a worker needs to score: which model, where, how, and since when the clock runs."""

    folder: Path
    digest: str
    device: str
    plan: Plan
    application: str  # Spark's id of it
    submitted_at: float  # seconds since 1970; a worker born later owes its start-up to this stage


def arrow_scorer(scorer: Scorer) -> Callable[[Batches], Batches]:
    """The function for `DataFrame.mapInArrow`: rows in, rows with predictions out."""
    return partial(_score, scorer)


def pandas_scorer(scorer: Scorer, card: ModelCard) -> Callable[..., Column]:
    """A scalar-iterator pandas UDF of the signature's inputs; register it to call it from SQL.

    It returns a struct of the model's outputs, ``error`` and ``_meter``.
    """
    schema = output_schema(pa.schema([]), card.signature)
    inputs = _input_schema(card)

    def classify(batches: Iterator[tuple[pd.Series, ...]]) -> Iterator[pd.DataFrame]:
        arrow = (_from_pandas(series, inputs) for series in batches)
        for batch in _score(scorer, arrow):
            yield batch.to_pandas()

    # Not deterministic, so that no optimizer rule computes it twice.
    return pandas_udf(classify, from_arrow_schema(schema)).asNondeterministic()  # type: ignore[call-overload,no-any-return]


def _input_schema(card: ModelCard) -> pa.Schema:
    return pa.schema(
        [(name, arrow_type(spec.type)) for name, spec in card.signature.inputs.items()]
    )


def _score(scorer: Scorer, batches: Batches) -> Batches:
    meter = Meter(_place(scorer.application), since=fresh_since(scorer.submitted_at))
    with meter.lap("startup_s"):
        importlib.import_module(
            "torch"
        )  # seconds, once a worker; loading the model is another matter
    load = partial(base.load, scorer.folder, scorer.digest, scorer.device)
    return score(batches, load, scorer.plan, meter)


def _from_pandas(series: Series, schema: pa.Schema) -> pa.RecordBatch:
    columns = series if isinstance(series, tuple) else (series,)
    arrays = [
        pa.array(column, field.type, from_pandas=True)
        for column, field in zip(columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _place(application: str) -> Place:
    task = TaskContext.get()
    if task is None:
        return Place(application)
    return Place(
        application=application,
        stage_id=task.stageId(),
        partition=task.partitionId(),
        attempt_number=task.attemptNumber(),
        task_id=task.taskAttemptId(),
        executor=socket.gethostname(),
    )
