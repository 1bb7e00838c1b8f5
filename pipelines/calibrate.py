"""With what a run computes: as the job pins it, as an earlier attempt or run found it, or as measured now."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import reduce
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from pipelines import infer, place, sink, volume
from pipelines.task_times import tagged
from pipelines.work import Work
from schemas.calibration import Measurement, Request, chosen
from schemas.contract import quoted
from schemas.errors import RunFailed
from schemas.model import ModelCard
from schemas.pinned import Pinned
from schemas.tables import CALIBRATIONS
from udfs.plan import Runtime
from udfs.spark import calibrator
from udfs.trials import SAMPLE_ROWS, machine

WORTH_S = 8.0  # of compute on every slot: what certainly takes less is not worth measuring
_OUTGROWN = (
    10  # times the rows for which an earlier run measured: then what it left out is made up for
)
_FILES = 4  # that a sample is drawn from
_NATIVE = {"onnx": "onnxruntime", "openvino": "openvino"}  # torch reads every other format
_NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Way:
    """What every worker of a run computes with."""

    folder: Path
    digest: str
    runtime: Runtime
    batch_cost: int | None = None  # None: each worker finds it
    why: str = ""
    rows_per_s: float | None = None  # of one worker; None: not measured

    @property
    def computed_with(self) -> str:
        """Model, backend, precision and device, in a line: what memory suffices for depends on them."""
        runtime = self.runtime
        return f"{self.digest[:16]} {runtime.backend} {runtime.precision} {runtime.device}"

    @property
    def settings(self) -> dict[str, str]:
        """What the run's events say of it."""
        return {
            "backend": self.runtime.backend,
            "precision": self.runtime.precision,
            "computed_so_because": self.why,
        }


def way_of(spark: SparkSession, work: Work, run_id: str, at: datetime) -> Way:
    """The way to compute this run. An attempt that goes on with a run takes what the first one took.

    Raises RunFailed where the job asks for what cannot be computed here.
    """
    pinned = native(work)
    if not _is_open(work):
        return replace(pinned, why="pinned by the job")
    if work.model.card.postprocess.name == "generate":
        return replace(pinned, why="texts depend on precision: pin engine.precision for another")
    if before := _rows(work.lake, [("run_id", "=", run_id)]):
        return _taken(work, _measurements(before), "as the run's first attempt")
    rows, slots = work.expected_rows, _slots(spark)
    is_short = volume.most_seconds(work.model, rows) / slots < WORTH_S
    if is_short and _reads_as_it_is(work):
        return replace(pinned, why="too little work to measure other ways")
    asked = _request(spark, work, rows, slots)
    known = _known(work, asked)
    where, told = _known_here(spark, asked, known) or _measured(spark, work, run_id, asked, known)
    if not told:
        return replace(pinned, why="no rows to measure with")
    seen = [Measurement.model_validate(one) for one in json.loads(told)]
    way = _taken(work, seen, _compared(seen))
    _keep(work, run_id, asked, where, seen, at)
    return way


def native(work: Work) -> Way:
    """What the job's words and the model's format come to where nothing is measured."""
    engine, card, model = work.job.engine, work.model.card, work.model
    backend = _NATIVE.get(card.format, "torch") if engine.backend == "auto" else engine.backend
    precision = _stored(card) if engine.precision == "auto" else engine.precision
    return Way(model.folder, model.digest, Runtime(engine.device, backend, precision))


def _known_here(
    spark: SparkSession, asked: Request, known: Mapping[str, str]
) -> tuple[str, str] | None:
    """This machine and what is known of it, where the workers are on it: no worker has to be asked."""
    if not known or not place.shares_this_machine(spark):
        return None
    here = machine(asked.device)
    return (here, known[here]) if here in known else None


def _measured(
    spark: SparkSession, work: Work, run_id: str, asked: Request, known: Mapping[str, str]
) -> tuple[str, str]:
    """A worker's machine and what it measured there, as JSON, or what is known of it; no rows: empty."""
    measuring = calibrator(asked, known)
    with tagged(spark, run_id, "calibrate"):
        found = sample(spark, work).mapInArrow(measuring, "machine string, measurements string")
        told = found.collect()
    return (told[0]["machine"], told[0]["measurements"]) if told else ("", "")


def _is_open(work: Work) -> bool:
    engine = work.job.engine
    return "auto" in (engine.backend, engine.precision) or not _reads_as_it_is(work)


def _reads_as_it_is(work: Work) -> bool:
    """Whether the backend that the job asks for reads the model's own format."""
    backend, format_ = work.job.engine.backend, work.model.card.format
    is_torch = backend in ("torch", "torch_compile") and format_ not in _NATIVE
    return backend in ("auto", _NATIVE.get(format_)) or is_torch


def _will_do(work: Work) -> bool:
    """Whether the model's own way is one that the job asks for, if the workers' machines have it."""
    engine, card = work.job.engine, work.model.card
    is_fixed = card.format in ("onnx", "torchscript") or _stored(card) != "fp32"
    is_so = not is_fixed or engine.precision in ("auto", _stored(card))
    return _reads_as_it_is(work) and is_so


def _stored(card: ModelCard) -> str:
    return card.made_from.precision if card.made_from else "fp32"


def _request(spark: SparkSession, work: Work, rows: int, slots: int) -> Request:
    engine, model = work.job.engine, work.model
    return Request(
        folder=str(model.folder),
        digest=model.digest,
        device=engine.device,
        backend=engine.backend,
        precision=engine.precision,
        threads=cores_a_task(spark),
        expected_rows=rows,
        slots=slots,
        converted=str(work.lake / "_models" / model.digest[:16]),
        hides_values=infer.hides_values(work.job, model),
    )


def cores_a_task(spark: SparkSession) -> int:
    """Cores that a task may use."""
    return int(spark.conf.get("spark.task.cpus", "1") or 1)


def _slots(spark: SparkSession) -> int:
    return max(1, place.slots(spark))


def sample(spark: SparkSession, work: Work) -> DataFrame:
    """Accepted rows from all over the input, the model's inputs only, in one partition."""
    names = [quoted(name) for name in work.model.card.signature.inputs]
    parts = list(_parts(work.pinned))
    frames = [
        infer.accepted(work.rows(spark, part), work.rules, work.job, work.model)
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


def _taken(work: Work, seen: Sequence[Measurement], why: str) -> Way:
    """The best of what was measured, or the model's own way where nothing could be.

    Raises RunFailed where none may be taken.
    """
    engine = work.job.engine
    place = chosen(seen, engine.backend, engine.precision)
    if place is None and _will_do(work) and not any(one.rows_per_s for one in seen):
        # A row may be at fault: scoring finds it, and says itself what is wrong with a model. The words of
        # whatever failed may quote that row: they are in the table alone.
        return replace(
            native(work), why="nothing could be measured: calibrations.why has the error"
        )
    if place is None:
        raise RunFailed(
            f"model {work.model.card.title} cannot be computed as the job asks",
            got="; ".join(f"{one.backend} {one.precision}: {one.why}" for one in seen if one.why),
            allowed=f"engine.backend {engine.backend}, engine.precision {engine.precision}",
            next="set both to auto, or correct what is said above",
        )
    best = seen[place]
    runtime = Runtime(engine.device, best.backend, best.precision)
    return Way(Path(best.folder), best.digest, runtime, best.batch_cost, why, best.rows_per_s)


def _compared(seen: Sequence[Measurement]) -> str:
    """What was measured, in a few words."""
    rates = [f"{m.backend} {m.precision} {m.rows_per_s:,.0f}" for m in seen if m.rows_per_s]
    declined = [f"{m.backend} {m.precision}" for m in seen if m.rows_per_s and not m.within]
    told = f"measured rows/s: {', '.join(rates)}"
    return f"{told}; outside of the tolerance: {', '.join(declined)}" if declined else told


def _rows(lake: Path, filters: list[tuple[str, str, Any]]) -> list[dict[str, Any]]:
    found = sink.values(lake, CALIBRATIONS, filters)
    return sorted(found, key=lambda row: (row["at"], row["run_id"], row["place"]))


def _known(work: Work, asked: Request) -> dict[str, str]:
    """By machine, the latest measurements of this model, unless they were made for a far smaller run."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in _rows(
        work.lake, [("model_digest", "=", asked.digest), ("asked", "=", _asked(asked))]
    ):
        group = found.setdefault(row["machine"], [])
        if group and group[-1]["run_id"] != row["run_id"]:
            group.clear()
        group.append(row)
    return {
        machine: json.dumps([one.model_dump() for one in _measurements(rows)])
        for machine, rows in found.items()
        if _is_good(rows, asked)
    }


def _is_good(rows: Sequence[dict[str, Any]], asked: Request) -> bool:
    is_measured = any(row["rows_per_s"] for row in rows)
    is_whole = not any((row["why"] or "").startswith(_NOT_MEASURED) for row in rows)
    is_large = asked.expected_rows <= _OUTGROWN * max(row["expected_rows"] for row in rows)
    there = all(Path(row["folder"]).is_dir() for row in rows if row["chosen"])
    return there and is_measured and (is_whole or is_large)


def _asked(request: Request) -> str:
    return json.dumps(request.model_dump(include={"device", "backend", "precision", "threads"}))


def _measurements(rows: Sequence[dict[str, Any]]) -> list[Measurement]:
    names = set(Measurement.model_fields)
    return [
        Measurement.model_validate(
            {k: v for k, v in row.items() if k in names} | {"errors": json.loads(row["errors"])}
        )
        for row in rows
    ]


def _keep(
    work: Work, run_id: str, asked: Request, machine: str, seen: Sequence[Measurement], at: datetime
) -> None:
    best = chosen(seen, asked.backend, asked.precision)
    about = {
        "run_id": run_id,
        "job": work.job.name,
        "at": at,
        "model": work.model.card.title,
        "model_digest": asked.digest,
        "asked": _asked(asked),
        "machine": machine,
        "expected_rows": asked.expected_rows,
    }
    told = [json.loads(one.model_dump_json()) for one in seen]
    rows = [
        {
            **about,
            **one,
            "errors": json.dumps(one["errors"]),
            "place": place,
            "chosen": place == best,
        }
        for place, one in enumerate(told)
    ]
    sink.append_values(rows, work.lake, CALIBRATIONS, f"millrace:{run_id}:calibration")
