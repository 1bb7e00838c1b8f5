"""Rounds to medians, medians to ratios. Nothing here runs anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from benches.contestants import CONTESTANTS, PREDICT_BATCH

Figures = dict[str, Any]
STEADY = "steady_rows_per_s"


def with_speeds(figures: Mapping[str, Any], rows: int) -> Figures:
    """A round's figures and the rows a second that follow from its seconds."""
    return {
        **figures,
        "rows_per_s": round(rows / figures["stage_s"], 1),
        STEADY: round(rows / figures["steady_s"], 1),
        "whole_process_rows_per_s": round(rows / figures["wall_s"], 1),
    }


def medians(rounds: Sequence[Mapping[str, Any]]) -> Figures:
    """The median of every number that all rounds have; one level of nesting is kept."""
    found: Figures = {}
    for name in rounds[0]:
        values: list[Any] = [one.get(name) for one in rounds]
        if all(isinstance(value, Mapping) for value in values):
            found[name] = medians(values)
        elif all(_is_number(value) for value in values):
            found[name] = round(median(values), 4)
    return found


def middle(result: Mapping[str, Any]) -> dict[str, Figures]:
    """Each contestant's medians, in the table's order."""
    runs = result["runs"]
    return {name: medians(runs[name]) for name in CONTESTANTS if runs.get(name)}


def is_right(result: Mapping[str, Any], name: str) -> bool:
    """Whether all of a contestant's rounds answered as it promised."""
    return all(one["answers"]["equal"] for one in result["runs"][name])


def best_loop(result: Mapping[str, Any]) -> str | None:
    """The fastest loop in the same result whose answers are right; None where none ran."""
    speeds = {
        name: one[STEADY]
        for name, one in middle(result).items()
        if CONTESTANTS[name].kind in ("loop", "tuned") and is_right(result, name)
    }
    return max(speeds, key=speeds.__getitem__, default=None)


def ratio(result: Mapping[str, Any], mine: str, other: str | None, figure: str) -> float | None:
    """One contestant's median ÷ another's; None where one of them did not run."""
    found = middle(result)
    if other is None or mine not in found or other not in found:
        return None
    return float(found[mine][figure] / found[other][figure])


def conversion_share(result: Mapping[str, Any], name: str) -> float | None:
    """The share of a worker's time, without start-up and load, that goes into Arrow and back.

    Texts are tokenised while they are decoded: there, only the way back counts.
    """
    laps = middle(result).get(name, {}).get("laps", {})
    if "convert_s" not in laps:
        return None
    decoded_s = 0.0 if result["workload"] == "docs" else laps["decode_s"]
    steady_s = laps["wall_s"] - laps["startup_s"] - laps["load_s"]
    return float((decoded_s + laps["convert_s"]) / steady_s)


def against_peers(result: Mapping[str, Any], mine: str) -> dict[str, float]:
    """Our whole process ÷ each peer's, in seconds: below 1 is faster."""
    found = middle(result)
    if mine not in found:
        return {}
    peers = [n for n in found if CONTESTANTS[n].kind in ("spark", "peer") or n == PREDICT_BATCH]
    return {name: found[mine]["wall_s"] / found[name]["wall_s"] for name in peers}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
