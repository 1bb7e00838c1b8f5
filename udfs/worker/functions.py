"""The engine as Spark functions: a pandas UDF that SQL can call, and its Arrow twin.

Workers unpickle this module before Millrace's clock starts. Heavy imports are therefore inside of
functions, and metered as part of loading the model.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from millrace.udfs.runtime.plan import Scorer
from millrace.udfs.runtime.process import fresh_since, mark_used
from millrace.udfs.worker.current_task import current_task

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from pyspark.sql import Column
    from pyspark.sql.types import StructType

    from millrace.schemas.calibration import CalibrationRequest
    from millrace.schemas.model import ModelCard
    from millrace.udfs.engine.metering import TaskAttempt
    from millrace.udfs.models.model_loading import Model
    from millrace.udfs.runtime.row_counts import RowCount
    from millrace.udfs.worker.isolation import ProcessIsolation

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
    """Return the function for `DataFrame.mapInArrow` from rows with columns ``names`` to predictions."""
    return partial(_score_named, scorer, list(names))


def calibrator(
    request: CalibrationRequest, known: Mapping[str, str]
) -> Callable[[Batches], Batches]:
    """Return the function for `DataFrame.mapInArrow` over one partition of sample rows.

    It yields one row: ``machine``, and ``measurements`` as JSON; those in ``known``, by machine, if there
    are any. Without rows it yields none.
    """
    return partial(_calibrate, request, dict(known))


def warmer(scorer: Scorer) -> Callable[[Batches], Batches]:
    """Return the function for `DataFrame.mapInArrow` that loads the model in its worker, without rows."""
    return partial(_warm, scorer)


def starter() -> Callable[[Batches], Batches]:
    """Return the function for `DataFrame.mapInArrow` that starts a worker and returns its rows."""
    return _start


def pandas_scorer(
    scorer: Scorer, card: ModelCard, given: StructType | None = None
) -> Callable[..., Column]:
    """Return a scalar-iterator pandas UDF of the signature's inputs; register it to call it from SQL.

    ``given``: the argument types, if they are not the signature's. It returns a struct of the model's
    outputs, ``error`` and ``_meter``.
    """
    import pandas as pd
    import pyarrow as pa
    from pyspark.sql.pandas.functions import pandas_udf
    from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema

    from millrace.schemas.types import arrow_type
    from millrace.udfs.engine.task_scoring import output_schema

    inputs = pa.schema(
        [(name, arrow_type(spec.type)) for name, spec in card.signature.inputs.items()]
    )
    if given is not None:
        inputs = to_arrow_schema(given)

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


def _calibrate(request: CalibrationRequest, known: dict[str, str], batches: Batches) -> Batches:
    import json

    import pyarrow as pa

    from millrace.udfs.calibration.trials import machine, measured, sample_of

    mark_used()  # should this worker score later, its start was not for that
    here = machine(request.device)
    measurements = known.get(here)
    if measurements is None and (sample := sample_of(batches)) is not None:
        measurements = json.dumps([one.model_dump() for one in measured(request, sample)])
    if measurements is not None:
        yield pa.RecordBatch.from_pydict({"machine": [here], "measurements": [measurements]})


def _score_named(scorer: Scorer, names: list[str], batches: Batches) -> Batches:
    return _score(scorer, (batch.rename_columns(names) for batch in batches))


def _score(scorer: Scorer, batches: Batches) -> Batches:
    task = current_task()
    clock = task.clock if task else None
    called_at = clock.seconds() if clock else time.time()
    born = fresh_since(scorer.submitted_at)
    from millrace.udfs.engine.metering import Meter
    from millrace.udfs.engine.scoring import score

    load, isolation = _loader(scorer), _isolation(scorer)
    place, is_fresh = _place(scorer.application), born is not None
    count = _row_count(scorer.plan.counts, place)
    clocks = {"clock": clock.seconds, "laps": clock.seconds, "cpu": clock.cpu_s} if clock else {}
    meter = Meter(place, since=born or called_at, called=called_at, fresh=is_fresh, **clocks)
    if count is not None:
        meter.computed = count.computed
    scored = score(batches, load, scorer.plan, meter, isolation)
    return scored if count is None else count.passing(scored)


def counting_rows_read(batches: Batches, folder: Path | None) -> Batches:
    """Count the rows in ``folder`` while a task reads them; None: no counting."""
    from millrace.udfs.runtime.row_counts import READ, RowCount

    task = current_task()
    if folder is None or task is None:
        return batches
    return RowCount(folder, READ, task.stage_id, task.partition).passing(batches)


def _row_count(folder: str | None, place: TaskAttempt) -> RowCount | None:
    from millrace.udfs.runtime.row_counts import SCORED, RowCount

    if folder is None:
        return None
    return RowCount(Path(folder), SCORED, place.stage_id, place.partition)


def _isolation(scorer: Scorer) -> ProcessIsolation | None:
    """This task's journal, and what computes the windows at which its last attempt died."""
    task = current_task()
    if scorer.plan.journal is None or task is None or not task.may_die:
        return None
    from millrace.udfs.worker.isolation import ProcessIsolation
    from millrace.udfs.worker.journal import Journal

    journal = Journal(Path(scorer.plan.journal), task.partition)
    return ProcessIsolation(scorer, _gpu_addresses(), journal)


def _gpu_addresses() -> list[str]:
    task = current_task()
    return list(task.gpu_addresses) if task else []


def _loader(scorer: Scorer) -> Callable[[], Model]:
    """What loads the model. What it needs is imported at once: seconds, once a worker."""
    from millrace.udfs.runtime.memory import keep_freed_memory
    from millrace.udfs.worker.model_placement import model_of

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


def _place(application: str) -> TaskAttempt:
    from millrace.udfs.engine.metering import TaskAttempt

    task = current_task()
    if task is None:
        return TaskAttempt(application)
    return TaskAttempt(
        application=task.application or application,
        stage_id=task.stage_id,
        partition=task.partition,
        attempt_number=task.attempt_number,
        task_id=task.task_id,
        executor=task.executor,
    )
