"""Energy and emissions of a span of allocated time: pure functions.

Each part, cores and GPUs, is counted where there is a counter, else estimated by what the machine draws idle
and at work. A row is only as sure as its weakest part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any

import numpy as np
from numpy.typing import NDArray

from millrace.schemas.prices import Instance, Region

Row = dict[str, Any]
Times = NDArray[np.float64]

COUNTER, RAPL, TDP, CONSTANT = "counter", "rapl", "tdp", "constant"
BANDS = {COUNTER: 0.15, RAPL: 0.15, TDP: 0.40, CONSTANT: 0.60}  # by how much, the surest first
CORE_WATTS = 2.1  # of a core without a figure in the price book: servers' are between 0.7 and 3.5
UNKNOWN_LOAD = 0.5  # of what lies between idle and at work
_JOULES_A_WH = 3600
_DIGITS = (
    9  # of a watt-hour: a sum of meters may differ in its last bits from one reading to the next
)


@dataclass(frozen=True)
class Used:
    """What a task, or a part of its time, made cores and GPUs do; None: not known, or not counted."""

    cpu_s: float | None = None  # CPU seconds
    cpu_joules: float | None = None  # by the processors' counter
    gpu_s: float | None = None  # seconds that a GPU computed; 0 for what used none
    gpu_joules: float | None = None  # by the GPU's counter

    def part(self, share: float) -> Used:
        """The part of it that goes to a share of the time."""
        return Used(*(None if one is None else one * share for one in vars(self).values()))


@dataclass(frozen=True)
class EnergyPart:
    """Joules, and how they are known."""

    joules: float
    method: str


def columns(used: Used, core_s: float, instance: Instance, grid: Region | None) -> dict[str, Any]:
    """Return a ledger row's columns of energy and carbon for ``core_s`` core-seconds; null if unknown."""
    parts = _parts(used, core_s, instance)
    if not parts:
        return {}
    wh = sum(part.joules for part in parts) / _JOULES_A_WH
    method = max((part.method for part in parts), key=list(BANDS).index)
    found: dict[str, Any] = {
        "x_EnergyWh": round(wh, _DIGITS),
        "x_EnergyWhLow": round(wh * (1 - BANDS[method]), _DIGITS),
        "x_EnergyWhHigh": round(wh * (1 + BANDS[method]), _DIGITS),
        "x_EnergyMethod": method,
    }
    if grid is not None:
        grams = wh / 1000 * grid.pue * grid.grid_g_per_kwh
        found |= {"x_CarbonG": round(grams, _DIGITS), "x_IntensitySource": grid.source}
    return found


def _parts(used: Used, core_s: float, instance: Instance) -> list[EnergyPart]:
    """Cores with all else in the machine, and its GPUs where the book says what they draw."""
    node, gpu = instance.watts, instance.gpu_watts
    if node is None:
        if used.cpu_joules is not None and not instance.gpus:
            return [EnergyPart(used.cpu_joules, RAPL)]
        # A machine with GPUs may draw fifty times what its cores do: no constant is near it.
        return [] if instance.gpus else [EnergyPart(CORE_WATTS * core_s, CONSTANT)]
    if gpu is None:
        at_work = used.cpu_s if not instance.gpus else _busiest(used, instance)
        counted = None if instance.gpus else used.cpu_joules
        cores = (node[0] / instance.vcpus, node[1] / instance.vcpus)
        return [_part(counted, RAPL, cores, core_s, at_work)]
    idle, full = (
        (whole - instance.gpus * one) / instance.vcpus for whole, one in zip(node, gpu, strict=True)
    )
    gpu_allocated_s = core_s * float(instance.gpus_per_core)
    return [
        _part(used.cpu_joules, RAPL, (idle, full), core_s, used.cpu_s),
        _part(used.gpu_joules, COUNTER, gpu, gpu_allocated_s, used.gpu_s),
    ]


def _part(
    joules: float | None,
    counter: str,
    watts: tuple[float, float],
    allocated_s: float,
    at_work_s: float | None,
) -> EnergyPart:
    """Return counted joules, else an estimate from allocated and busy seconds."""
    if joules is not None:
        return EnergyPart(joules, counter)
    idle, full = watts
    if at_work_s is None:
        return EnergyPart(allocated_s * (idle + UNKNOWN_LOAD * (full - idle)), CONSTANT)
    return EnergyPart(allocated_s * idle + min(at_work_s, allocated_s) * (full - idle), TDP)


def _busiest(used: Used, instance: Instance) -> float | None:
    """For a machine whose GPUs' watts are not separate: core-seconds at work, by what works most."""
    if used.cpu_s is None or used.gpu_s is None:
        return None
    return max(used.cpu_s, used.gpu_s / float(instance.gpus_per_core))


def shared(meters: Sequence[Row]) -> list[Row]:
    """Each task's meter with its share of what its GPU counted for all, by the time it computed there.

    A counter is shared over whole tasks, never one short batch: it is renewed more seldom than batches end.
    """
    by_card: dict[tuple[str, str], list[Row]] = {}
    for meter in meters:
        if meter.get("gpu_joules") is not None and meter.get("gpu_busy_s") is not None:
            by_card.setdefault((meter["executor"], meter["device"]), []).append(meter)
    joules = {id(one): share for mine in by_card.values() for one, share in _shares(mine)}
    return [{**meter, "gpu_joules": joules.get(id(meter))} for meter in meters]


def _shares(meters: Sequence[Row]) -> Iterator[tuple[Row, float]]:
    """Tasks of one card, and their joules: those counted in their time, by who was busy in it."""
    begins = np.array([one["started_at"].replace(tzinfo=UTC).timestamp() for one in meters])
    begins -= begins.min()  # small numbers are finer
    ends = begins + np.array([one["wall_s"] for one in meters], np.float64)
    busy_s = np.array([one["gpu_busy_s"] for one in meters], np.float64)
    all_s = _busy_within(begins, ends, busy_s)
    for meter, mine_s, every_s in zip(meters, busy_s, all_s, strict=True):
        yield meter, float(meter["gpu_joules"] * mine_s / every_s) if every_s > 0 else 0.0


def _busy_within(begins: Times, ends: Times, busy_s: Times) -> Times:
    """For each interval, the busy seconds of all of them that lie in it, each spread evenly over its own."""
    edges = np.unique(np.concatenate([begins, ends]))
    rates = np.zeros(len(edges))
    pace = np.divide(busy_s, ends - begins, out=np.zeros_like(busy_s), where=ends > begins)
    np.add.at(rates, np.searchsorted(edges, begins), pace)
    np.add.at(rates, np.searchsorted(edges, ends), -pace)
    before = np.concatenate([[0.0], np.cumsum(np.cumsum(rates)[:-1] * np.diff(edges))])
    found: Times = np.interp(ends, edges, before) - np.interp(begins, edges, before)
    return found
