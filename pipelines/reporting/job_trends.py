"""Trends of a job over its runs: cost, throughput and the quarantined share, each with its chart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from markupsafe import Markup

from millrace.pipelines.console.formatting import day, money, percent
from millrace.pipelines.query.lake_reader import Row
from millrace.pipelines.reporting import trend_chart
from millrace.pipelines.reporting.trend_chart import TrendPoint


@dataclass(frozen=True)
class Trend:
    """One number over a job's runs: what it is, what it was last, and its picture."""

    name: str
    last: str
    summary: str
    drawn: Markup


def job_trends(done: Sequence[Row]) -> list[Trend]:
    """Return the trends over runs that are done; a number that no run has gives none."""
    currency = done[-1]["currency"] or ""
    same = [
        run if run["currency"] == done[-1]["currency"] else {**run, "per_thousand": None}
        for run in done
    ]

    def cost(value: Any) -> str:
        return f"{money(Decimal(value))} {currency}"

    return [
        found
        for found in (
            _trend("Cost of a thousand rows", "per_thousand", same, cost),
            _trend("Rows a second", "rows_per_s", done, lambda value: f"{value:,.0f}"),
            _trend("Share quarantined", "refused_share", done, percent),
        )
        if found is not None
    ]


def _trend(name: str, column: str, runs: Sequence[Row], written: Any) -> Trend | None:
    known = [run[column] for run in runs if run[column] is not None]
    if not known:
        return None
    points = [
        TrendPoint(
            f"{day(run['at'])}: {written(run[column])}" if run[column] is not None else "",
            None if run[column] is None else float(run[column]),
        )
        for run in runs
    ]
    first, last, least, most = (written(v) for v in (known[0], known[-1], min(known), max(known)))
    summary = f"From {first} to {last} over {len(known)} runs; between {least} and {most}."
    return Trend(name, last, summary, trend_chart.line(points, f"{name}. {summary}"))
