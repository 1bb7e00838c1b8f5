"""With what a run computes: as the job pins it, as an earlier attempt or run found it, or as measured now."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import reduce
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from millrace.pipelines.inference import scoring
from millrace.pipelines.inference.calibration_store import (
    calibration_rows,
    known_measurements,
    measurements_of,
    store_measurements,
)
from millrace.pipelines.inference.inference_config import (
    InferenceConfig,
    conversions,
    native,
    native_is_allowed,
    reads_native_format,
)
from millrace.pipelines.job import size_estimate
from millrace.pipelines.job.prepared_job import PreparedJob
from millrace.pipelines.spark import cluster
from millrace.pipelines.spark.job_tags import tagged
from millrace.schemas.calibration import CalibrationRequest, Measurement, chosen
from millrace.schemas.errors import RunFailed
from millrace.schemas.pinned import Pinned
from millrace.schemas.rule import quoted
from millrace.udfs.calibration.trials import SAMPLE_ROWS, machine
from millrace.udfs.runtime.plan import Runtime
from millrace.udfs.worker.functions import calibrator

WORTH_S = 8.0  # of compute on every slot: what certainly takes less is not worth measuring
_FILES = 4  # that a sample is drawn from


def choose_config(
    spark: SparkSession, prepared: PreparedJob, run_id: str, at: datetime
) -> InferenceConfig:
    """Choose what this run computes with. A later attempt takes what the first one chose.

    Raises RunFailed where the job asks for what cannot be computed here.
    """
    pinned = native(prepared)
    if not _is_open(prepared):
        return replace(pinned, why="pinned by the job")
    if prepared.model.card.postprocess.name == "generate":
        return replace(pinned, why="texts depend on precision: pin engine.precision for another")
    if before := calibration_rows(prepared.lake, [("run_id", "=", run_id)]):
        return _best_config(prepared, measurements_of(before), "as the run's first attempt")
    rows, slots = prepared.expected_rows, _slots(spark)
    is_short = size_estimate.most_seconds(prepared.model, rows) / slots < WORTH_S
    if is_short and reads_native_format(prepared):
        return replace(pinned, why="too little work to measure other ways")
    request = _request(spark, prepared, rows, slots)
    known = known_measurements(prepared, request)
    where, results = _known_here(spark, request, known) or _measured(
        spark, prepared, run_id, request, known
    )
    if not results:
        return replace(pinned, why="no rows to measure with")
    seen = [Measurement.model_validate(one) for one in json.loads(results)]
    config = _best_config(prepared, seen, _compared(seen))
    store_measurements(prepared, run_id, request, where, seen, at)
    return config


def _known_here(
    spark: SparkSession, request: CalibrationRequest, known: Mapping[str, str]
) -> tuple[str, str] | None:
    """This machine and its measurements, where the workers run on it: no task is needed to learn them."""
    if not known or not cluster.shares_this_machine(spark):
        return None
    here = machine(request.device)
    return (here, known[here]) if here in known else None


def _measured(
    spark: SparkSession,
    prepared: PreparedJob,
    run_id: str,
    request: CalibrationRequest,
    known: Mapping[str, str],
) -> tuple[str, str]:
    """A worker's machine and what it measured there, as JSON, or what is known of it; no rows: empty."""
    measuring = cluster.in_tasks(spark, calibrator(request, known))
    with tagged(spark, run_id, "calibrate"):
        found = sample(spark, prepared).mapInArrow(measuring, "machine string, measurements string")
        results = found.collect()
    return (results[0]["machine"], results[0]["measurements"]) if results else ("", "")


def _is_open(prepared: PreparedJob) -> bool:
    engine = prepared.job.engine
    return "auto" in (engine.backend, engine.precision) or not reads_native_format(prepared)


def _request(
    spark: SparkSession, prepared: PreparedJob, rows: int, slots: int
) -> CalibrationRequest:
    engine, model = prepared.job.engine, prepared.model
    return CalibrationRequest(
        folder=str(model.folder),
        digest=model.digest,
        device=engine.device,
        backend=engine.backend,
        precision=engine.precision,
        threads=cores_a_task(spark),
        expected_rows=rows,
        slots=slots,
        converted=str(conversions(prepared.lake, model)),
        hides_values=scoring.hides_values(prepared.job, model),
    )


def cores_a_task(spark: SparkSession) -> int:
    """Cores that a task may use."""
    return int(spark.conf.get("spark.task.cpus", "1") or 1)


def _slots(spark: SparkSession) -> int:
    return max(1, cluster.slots(spark))


def sample(spark: SparkSession, prepared: PreparedJob) -> DataFrame:
    """Accepted rows from all over the input, the model's inputs only, in one partition."""
    names = [quoted(name) for name in prepared.model.card.signature.inputs]
    parts = list(_parts(prepared.pinned))
    frames = [
        scoring.accepted(prepared.rows(spark, part), prepared.rules, prepared.job, prepared.model)
        .select(*names)
        .limit(SAMPLE_ROWS // len(parts))
        for part in parts
    ]
    return reduce(DataFrame.union, frames).coalesce(1)


def _parts(pinned: Pinned) -> Iterator[Pinned]:
    """Parts of the input to draw from: files from its beginning to its end where it has several."""
    if pinned.format in ("delta", "idx") or len(pinned.files) <= 1:
        yield pinned
    elif pinned.format == "images":
        yield replace(pinned, files=_spread(pinned.files, SAMPLE_ROWS))
    else:
        for file in _spread(pinned.files, _FILES):
            yield replace(pinned, files=(file,))


def _spread(files: tuple[Any, ...], count: int) -> tuple[Any, ...]:
    step = max(1.0, len(files) / count)
    return tuple(files[int(place * step)] for place in range(min(count, len(files))))


def _best_config(prepared: PreparedJob, seen: Sequence[Measurement], why: str) -> InferenceConfig:
    """The best measured configuration, or the model's native one where none could be measured.

    Raises RunFailed where none may be taken.
    """
    engine = prepared.job.engine
    place = chosen(seen, engine.backend, engine.precision)
    if place is None and native_is_allowed(prepared) and not any(one.rows_per_s for one in seen):
        # A row may be at fault: scoring finds it, and reports what is wrong with a model. The text of the
        # error may quote that row: only the table has it.
        return replace(
            native(prepared), why="nothing could be measured: calibrations.why has the error"
        )
    if place is None:
        raise RunFailed(
            f"model {prepared.model.card.title} cannot be computed as the job asks",
            got="; ".join(f"{one.backend} {one.precision}: {one.why}" for one in seen if one.why),
            allowed=f"engine.backend {engine.backend}, engine.precision {engine.precision}",
            next="set both to auto, or correct what is said above",
        )
    best = seen[place]
    runtime = Runtime(engine.device, best.backend, best.precision)
    return InferenceConfig(
        Path(best.folder), best.digest, runtime, best.batch_cost, why, best.rows_per_s
    )


def _compared(seen: Sequence[Measurement]) -> str:
    """The measurements as one line."""
    rates = [f"{m.backend} {m.precision} {m.rows_per_s:,.0f}" for m in seen if m.rows_per_s]
    declined = [f"{m.backend} {m.precision}" for m in seen if m.rows_per_s and not m.within]
    text = f"measured rows/s: {', '.join(rates)}"
    return f"{text}; outside of the tolerance: {', '.join(declined)}" if declined else text
