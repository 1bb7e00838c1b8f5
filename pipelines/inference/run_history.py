"""Past runs of a job as the basis of a forecast: read from the lake's tables, then pure functions."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from millrace.pipelines.inference.time_model import (
    Estimate,
    LinearTime,
    Observation,
    Workload,
    blend,
    fit,
)
from millrace.pipelines.lake import delta
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.lake.runs import DONE, has_typical_speed
from millrace.schemas.tables import LEDGER, RUNS

_STEADY = ("useful", "read", "write")  # kinds of cost that grow with the rows
_APART = 1.5  # times as many rows: then two runs tell what is fixed and what grows
_UNSURE = 0.10  # of a line through past runs, at their size; and for each e-fold beyond it
_OF_A_SAMPLE = 0.35  # what a rate measured on a sample is off by, relatively


@dataclass(frozen=True)
class PastRun:
    """A run that was done in one attempt."""

    run_id: str
    rows: int
    units: int
    wall_s: float
    infer_s: float
    slots: int  # cores of its session
    instance: str | None  # of the price book
    steady_s: (
        float | None
    )  # slot seconds that grow with rows, all workers together; None: no ledger


def past_runs(lake: LakeLocation, job: str, model_digest: str) -> list[PastRun]:
    """The job's runs with this model, oldest first; those that were resumed tell no time of a whole run."""
    events = delta.values(lake, RUNS, [("job", "=", job), ("model_digest", "=", model_digest)])
    resumed = {event["run_id"] for event in events if event["state"] == "resumed"}
    done = [
        event
        for event in sorted(events, key=lambda event: event["number"])
        if event["state"] == DONE and event["run_id"] not in resumed and event["scored"]
        if has_typical_speed(event)
    ]
    steady = _steady(lake, job) if done else {}
    found = [_past(event, steady.get(event["run_id"])) for event in done]
    return [one for one in found if one is not None]


def _past(event: dict[str, Any], steady_s: float | None) -> PastRun | None:
    settings = json.loads(event["settings"])
    if not settings.get("slots") or not event["wall_s"] or not event["infer_s"]:
        return None  # of an earlier version: nobody knows how many cores it had
    return PastRun(
        run_id=event["run_id"],
        rows=event["scored"] + event["failed"],
        units=event["units_total"],
        wall_s=event["wall_s"],
        infer_s=event["infer_s"],
        slots=int(settings["slots"]),
        instance=settings.get("instance"),
        steady_s=steady_s,
    )


def _steady(lake: LakeLocation, job: str) -> dict[str, float]:
    """By run, the slot seconds that grow with its rows."""
    mine = [("x_Job", "=", job), ("SkuMeter", "=", "Core"), ("x_CostKind", "in", list(_STEADY))]
    found: dict[str, float] = {}
    for row in delta.values(lake, LEDGER, mine, ("x_RunId", "x_SlotMs")):
        found[row["x_RunId"]] = found.get(row["x_RunId"], 0.0) + row["x_SlotMs"] / 1000
    return found


def comparable(past: Sequence[PastRun], slots: int) -> list[PastRun]:
    """The runs on as many slots; where there is none, all of them."""
    return [one for one in past if one.slots == slots] or list(past)


def inference(past: Sequence[PastRun], slots: int) -> LinearTime:
    """Seconds of inference on so many slots as a line in rows. Raises ValueError without a run.

    Runs of different sizes tell the fixed part by themselves; of one size, the ledger does.
    """
    compared = comparable(past, slots)
    sizes = [one.rows for one in compared]
    if max(sizes) >= _APART * min(sizes) and len({one.slots for one in compared}) == 1:
        line = fit([Observation(Workload(one.rows), one.infer_s) for one in compared])
        return LinearTime(line.fixed_s, line.per_row_s * compared[0].slots / slots)
    rows = sum(sizes)
    growing = sum(_growing_s(one) * one.slots for one in compared)
    fixed = sum(one.infer_s - _growing_s(one) for one in compared) / len(compared)
    return LinearTime(fixed, growing / slots / rows)


def _growing_s(one: PastRun) -> float:
    """Of a run's inference, the seconds that grow with rows."""
    return one.infer_s if one.steady_s is None else min(one.infer_s, one.steady_s / one.slots)


def inference_range(past: Sequence[PastRun], slots: int, rows: float) -> Estimate:
    """Seconds of inference of so many rows, by past runs alone."""
    line, compared = inference(past, slots), comparable(past, slots)
    nearest = min(abs(math.log(max(rows, 1) / one.rows)) for one in compared)
    predicted = [_on(line, slots, one) for one in compared]
    ratios = [
        one.infer_s / seconds for one, seconds in zip(compared, predicted, strict=True) if seconds
    ]
    unsure = _UNSURE * (1 + nearest)
    return blend(line.seconds(Workload(rows)), unsure, ratios)


def _on(line: LinearTime, slots: int, one: PastRun) -> float:
    """What the line, which is for ``slots``, predicts for a past run on its own slots."""
    return line.fixed_s + line.per_row_s * one.rows * slots / one.slots


def sampled_range(rows_per_s: float, slots: int, rows: float) -> Estimate:
    """Seconds of inference by the rate of one worker that calibration measured on a sample."""
    return blend(rows / (rows_per_s * slots), _OF_A_SAMPLE, [])


def paced_range(pace_s: float, rows: float) -> Estimate:
    """Seconds of inference at the pace, in seconds a row, of this run's own units."""
    return blend(pace_s * rows, _UNSURE, [])
