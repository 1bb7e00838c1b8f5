"""Rounds to medians, medians to ratios. Nothing here runs anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

PLAIN, PREDICT_BATCH, MILLRACE = "plain_torch", "predict_batch_udf", "millrace"
SPEEDS = ("rows_per_s", "steady_rows_per_s", "whole_process_rows_per_s")
Figures = dict[str, Any]


def with_speeds(figures: Mapping[str, Any], rows: int) -> Figures:
    """A round's figures and the rows a second that follow from its seconds."""
    return {
        **figures,
        "rows_per_s": round(rows / figures["stage_s"], 1),
        "steady_rows_per_s": round(rows / figures["steady_s"], 1),
        "whole_process_rows_per_s": round(rows / figures["wall_s"], 1),
    }


def medians(rounds: Sequence[Mapping[str, Any]]) -> Figures:
    """The median of every number that all rounds have; one level of nesting is kept."""
    found: Figures = {}
    for name in rounds[0]:
        values = [one.get(name) for one in rounds]
        if all(isinstance(value, Mapping) for value in values):
            found[name] = medians(values)  # type: ignore[arg-type]
        elif all(_is_number(value) for value in values):
            found[name] = round(median(values), 4)  # type: ignore[type-var]
    return found


def ratios(by_contestant: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Speeds as multiples: everybody's of the plain loop, and Millrace's of predict_batch_udf."""
    pairs = [(name, PLAIN) for name in by_contestant if name != PLAIN]
    if PREDICT_BATCH in by_contestant and MILLRACE in by_contestant:
        pairs.append((MILLRACE, PREDICT_BATCH))
    return {
        f"{mine}/{other}": {
            speed: round(by_contestant[mine][speed] / by_contestant[other][speed], 3)
            for speed in SPEEDS
        }
        for mine, other in pairs
        if other in by_contestant
    }


def result(
    *,
    workload: str,
    about: str,
    rows: int,
    rounds: Sequence[Mapping[str, Mapping[str, Any]]],
    **facts: Any,
) -> Figures:
    """What is stored: each round, the medians, the ratios, and whether all answers were equal."""
    names = list(rounds[0])
    middle = {name: medians([one[name] for one in rounds]) for name in names}
    return {
        "workload": workload,
        "about": about,
        "rows": rows,
        **facts,
        "answers_equal": all(one[name]["answers"]["equal"] for one in rounds for name in names),
        "medians": middle,
        "ratios": ratios(middle),
        "rounds": list(rounds),
    }


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
