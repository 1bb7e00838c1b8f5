"""The engine as Spark sees it: a pandas UDF that SQL can call, and its Arrow twin.

Workers unpickle what is here before any clock of ours runs, so heavy imports wait inside the functions:
what they take is then metered as start-up.
"""

from __future__ import annotations

import importlib
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pyspark import TaskContext

from udfs.plan import Scorer
from udfs.process import fresh_since, mark_used

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from pyspark.sql import Column

    from schemas.calibration import Request
    from schemas.model import ModelCard
    from udfs.isolate import Isolated
    from udfs.meter import Place
    from udfs.models.base import Model

    Batches = Iterator[pa.RecordBatch]


# What a backend computes with. Loading the model is another matter, and metered as such.
PACKAGES = {
    "torch": "torch",
    "torch_compile": "torch",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "vllm": "vllm",
}


def arrow_scorer(scorer: Scorer, names: Sequence[str]) -> Callable[[Batches], Batches]:
    """The function for `DataFrame.mapInArrow`: rows in, whose columns are ``names``; predictions out."""
    return partial(_score_named, scorer, list(names))


def calibrator(request: Request, known: Mapping[str, str]) -> Callable[[Batches], Batches]:
    """The function for `DataFrame.mapInArrow` over one partition of sample rows.

    It yields one row: ``machine``, and ``measurements`` as JSON; those in ``known``, by machine,
    where there are any. Without rows it yields none.
    """
    return partial(_calibrate, request, dict(known))


def warmer(scorer: Scorer) -> Callable[[Batches], Batches]:
    """The function for `DataFrame.mapInArrow` that only makes its worker ready to score; no rows out."""
    return partial(_warm, scorer)


def starter() -> Callable[[Batches], Batches]:
    """The function for `DataFrame.mapInArrow` that gives its rows back: a worker starts, no more."""
    return _start


def pandas_scorer(scorer: Scorer, card: ModelCard) -> Callable[..., Column]:
    """A scalar-iterator pandas UDF of the signature's inputs; register it to call it from SQL.

    It returns a struct of the model's outputs, ``error`` and ``_meter``.
    """
    import pandas as pd
    import pyarrow as pa
    from pyspark.sql.pandas.functions import pandas_udf
    from pyspark.sql.pandas.types import from_arrow_schema

    from schemas.types import arrow_type
    from udfs.engine import output_schema

    inputs = pa.schema(
        [(name, arrow_type(spec.type)) for name, spec in card.signature.inputs.items()]
    )

    def classify(batches: Iterator[tuple[pd.Series, ...]]) -> Iterator[pd.DataFrame]:
        for batch in _score(scorer, (_from_pandas(series, inputs) for series in batches)):
            yield batch.to_pandas()

    # Spark tells the kinds of UDF apart by annotation, and reads texts in this module's names.
    classify.__annotations__ = {
        "batches": Iterator[tuple[pd.Series, ...]],
        "return": Iterator[pd.DataFrame],
    }
    schema = from_arrow_schema(output_schema(pa.schema([]), card.signature))
    # Not deterministic, so that no optimizer rule computes it twice.
    return pandas_udf(classify, schema).asNondeterministic()  # type: ignore[call-overload,no-any-return]


def _start(batches: Batches) -> Batches:
    mark_used()  # should this worker score later, its start was not for that
    yield from batches


def _warm(scorer: Scorer, batches: Batches) -> Batches:
    mark_used()  # what this takes is a stage of its own
    for _ in batches:
        _loader(scorer)()
        yield from ()


def _calibrate(request: Request, known: dict[str, str], batches: Batches) -> Batches:
    import json

    import pyarrow as pa

    from udfs.trials import machine, measured, sample_of

    mark_used()  # should this worker score later, its start was not for that
    here = machine(request.device)
    told = known.get(here)
    if told is None and (sample := sample_of(batches)) is not None:
        told = json.dumps([one.model_dump() for one in measured(request, sample)])
    if told is not None:
        yield pa.RecordBatch.from_pydict({"machine": [here], "measurements": [told]})


def _score_named(scorer: Scorer, names: list[str], batches: Batches) -> Batches:
    return _score(scorer, (batch.rename_columns(names) for batch in batches))


def _score(scorer: Scorer, batches: Batches) -> Batches:
    called_at = time.time()
    born = fresh_since(scorer.submitted_at)
    from udfs.engine import score
    from udfs.meter import Meter

    load = _loader(scorer)
    meter = Meter(_place(scorer.application), since=born or called_at, fresh=born is not None)
    return score(batches, load, scorer.plan, meter, _apart(scorer))


def _apart(scorer: Scorer) -> Isolated | None:
    """This task's journal, and what computes the windows at which its last attempt died."""
    task = TaskContext.get()
    if scorer.plan.journal is None or task is None:
        return None
    from udfs.isolate import Isolated
    from udfs.journal import Journal

    journal = Journal(Path(scorer.plan.journal), task.partitionId())
    return Isolated(scorer, _gpu_addresses(), journal)


def _gpu_addresses() -> list[str]:
    task = TaskContext.get()
    return task.resources()["gpu"].addresses if task and "gpu" in task.resources() else []


def _loader(scorer: Scorer) -> Callable[[], Model]:
    """What loads the model. What it needs is imported at once: seconds, once a worker."""
    from udfs.allocator import keep_freed_memory
    from udfs.placing import model_of

    keep_freed_memory()
    importlib.import_module(PACKAGES[scorer.runtime.backend])
    return partial(model_of, scorer, _gpu_addresses())


def _from_pandas(series: pd.Series | tuple[pd.Series, ...], schema: pa.Schema) -> pa.RecordBatch:
    import pyarrow as pa

    columns = series if isinstance(series, tuple) else (series,)
    arrays = [
        pa.array(column, field.type, from_pandas=True)
        for column, field in zip(columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _place(application: str) -> Place:
    from udfs.meter import Place

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
