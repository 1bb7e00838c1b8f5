"""All runs of a lake on one HTML page that needs nothing else: how each ended, what it cost, and trends.

Made from the tables alone. It has no value of a row, and of errors their kind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Template
from markupsafe import Markup

from pipelines import charts, report, trend
from pipelines.asked import Lake, Row
from pipelines.attempts import BEGINS
from pipelines.charts import Part
from pipelines.facts import KINDS
from pipelines.pages import template
from pipelines.trend import Point
from pipelines.whole_file import whole
from pipelines.words import count, day, duration, moment, money, percent
from schemas.errors import UsageError
from schemas.tables import LEDGER, QUARANTINE, UNITS, VALIDATIONS

NAME = "index.html"
SHOWN = 200  # runs of a job with a line of their own, the newest
TRENDED = 100  # runs of a job that its trends are drawn of


@dataclass(frozen=True)
class Trend:
    """One number over a job's runs: what it is, what it was last, and its picture."""

    name: str
    last: str
    said: str
    drawn: Markup


def path_of(lake: Path) -> Path:
    """Say where the page is, or will be."""
    return lake / "_reports" / NAME


def write(lake: Path) -> Path:
    """Write the page and return its path; it appears whole or not at all.

    Raises UsageError where the lake has no run.
    """
    page = _page(Lake(lake))
    path = path_of(lake)
    with whole(path) as draft:
        draft.write_text(page, encoding="utf-8")
    return path


def _page(lake: Lake) -> str:
    runs = lake.runs(_RUNS)
    if not runs:
        raise UsageError(f"no runs in {lake.path}", next="run a job that writes there first")
    known = _known(lake)
    every = [_run(lake.path, run, known) for run in runs]
    jobs = sorted({run["job"] for run in every}, key=str.lower)
    parts = [_job(job, [run for run in every if run["job"] == job]) for job in jobs]
    return _template().render(
        jobs=parts,
        runs=len(every),
        good=sum(run["state"] == "done" for run in every),
        at=max(run["at"] for run in every),
        shown=SHOWN,
        trended=TRENDED,
    )


def _known(lake: Lake) -> dict[str, dict[str, Any]]:
    """By run: rows as far as it came, what it cost by the ledger, and the seconds of slots by kind."""
    found: dict[str, dict[str, Any]] = {}
    for sql, table in (
        (_ENDED, UNITS), (_REFUSED, QUARANTINE), (_CHECKED, VALIDATIONS), (_SPENT, LEDGER),
    ):  # fmt: skip
        for row in lake.rows(sql, table.name):
            found.setdefault(row["run_id"], {}).update(row)
    for row in lake.rows(_KINDS, LEDGER.name):
        kinds = found.setdefault(row["run_id"], {}).setdefault("kinds", {})
        kinds[row["kind"]] = row["slot_s"]
    return found


def _run(lake: Path, run: Row, every: dict[str, dict[str, Any]]) -> Row:
    """A run with what the other tables say of it; None where nothing does."""
    known = every.get(run["run_id"], {})

    def first(*values: Any) -> Any:
        return next((value for value in values if value is not None), None)

    told = {name: first(run[name], known.get(name)) for name in ("scored", "failed", "quarantined")}
    read = first(run["rows_read"], known.get("checked"))
    cost = first(run["cost"], known.get("spent"))
    scored, kinds = told["scored"] or 0, known.get("kinds", {})
    return {
        **run,
        **told,
        "rows_read": read,
        "cost": cost,
        "currency": first(run["currency"], known.get("currency")),
        "per_thousand": cost * 1000 / scored if cost is not None and scored else None,
        # What earlier attempts scored, and how long that took, is not in the last one's times.
        "rows_per_s": scored / run["infer_s"]
        if run["infer_s"] and scored and run["attempts"] <= 1
        else None,
        "refused_share": told["quarantined"] / read
        if read and told["quarantined"] is not None
        else None,
        "clock_s": None
        if run["state"] in BEGINS
        else first(
            run["wall_s"], (run["at"] - (run["last_began"] or run["began"])).total_seconds()
        ),
        "why": report.reason(run)["kind"],
        "flow": _flow(read, told),
        "time": _time(kinds),
        "useful": kinds.get("useful", 0.0) / (sum(kinds.values()) or 1.0),
        "report": _link(report.path_of, lake, run["run_id"]),
        "validation": _link(report.validation_path_of, lake, run["run_id"]),
    }


def _link(path_of: Callable[[Path, str], Path], lake: Path, run_id: str) -> str | None:
    """The name of a run's page, where there is one; an id that can name no file has none."""
    try:
        path = path_of(lake, run_id)
    except UsageError:
        return None
    return path.name if path.is_file() else None


def _flow(read: int | None, told: Row) -> Markup | None:
    if not read:
        return None
    parts = [
        Part("scored", told["scored"] or 0, "k-useful"),
        Part("refused", told["quarantined"] or 0, "k-refused"),
        Part("failed", told["failed"] or 0, "k-failed"),
    ]
    rest = max(0, read - sum(int(part.value) for part in parts))
    parts.append(Part("not scored", rest, "k-held"))
    said = ", ".join(f"{part.value:,} {part.label}" for part in parts if part.value)
    return charts.bar(parts, f"Of {read:,} rows: {said or 'none'}", least=14.0)


def _time(kinds: dict[str, float]) -> Markup | None:
    named = [kind for kind in KINDS if kinds.get(kind)]
    if not named:
        return None
    parts = [Part(KINDS[kind], kinds[kind], f"k-{kind}") for kind in named]
    said = "; ".join(f"{part.label}: {duration(part.value)}" for part in parts)
    return charts.bar(parts, said, least=8.0)


def _job(name: str, runs: Sequence[Row]) -> dict[str, Any]:
    """A job's part of the page: its newest runs, and its trends over those that are done."""
    newest = sorted(runs, key=lambda run: (run["number"] or 0, run["at"]), reverse=True)
    done = [run for run in reversed(newest) if run["state"] == "done"][-TRENDED:]
    return {
        "name": name,
        "runs": newest[:SHOWN],
        "more": max(0, len(newest) - SHOWN),
        "count": len(newest),
        "trends": _trends(done) if len(done) > 1 else [],
    }


def _trends(done: Sequence[Row]) -> list[Trend]:
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
            _trend("Share refused", "refused_share", done, percent),
        )
        if found is not None
    ]


def _trend(name: str, column: str, runs: Sequence[Row], written: Any) -> Trend | None:
    known = [run[column] for run in runs if run[column] is not None]
    if not known:
        return None
    points = [
        Point(
            f"{day(run['at'])}: {written(run[column])}" if run[column] is not None else "",
            None if run[column] is None else float(run[column]),
        )
        for run in runs
    ]
    first, last, least, most = (written(v) for v in (known[0], known[-1], min(known), max(known)))
    said = f"From {first} to {last} over {len(known)} runs; between {least} and {most}."
    return Trend(name, last, said, trend.line(points, f"{name}. {said}"))


@cache
def _template() -> Template:
    return template("index", count, money, percent, duration, moment, day)


_RUNS = """
SELECT told.*, events.began, events.attempts, events.last_began FROM runs_current AS told
JOIN (
  SELECT run_id, MIN(at) AS began, COUNT(*) FILTER (WHERE state IN ('started', 'resumed')) AS attempts,
    MAX(at) FILTER (WHERE state IN ('started', 'resumed')) AS last_began FROM runs GROUP BY run_id
) AS events ON told.run_id = events.run_id
ORDER BY told.job, told.number, told.at
"""
_ENDED = """
SELECT run_id, SUM(scored) AS scored, SUM(failed) AS failed FROM (
  SELECT run_id, unit, MAX(scored) AS scored, MAX(failed) AS failed FROM units
  WHERE state = 'done' GROUP BY run_id, unit
) AS told GROUP BY run_id
"""
_REFUSED = "SELECT run_id, COUNT(*) AS quarantined FROM quarantine GROUP BY run_id"
_CHECKED = """
SELECT run_id, MAX(checked) AS checked FROM validations WHERE kind <> 'expectation' GROUP BY run_id
"""
_SPENT = """
SELECT run_id, MAX(cost) AS spent, MAX(currency) AS currency FROM cost_by_run GROUP BY run_id
"""
_KINDS = """
SELECT x_RunId AS run_id, x_CostKind AS kind, SUM(x_SlotMs) / 1000.0 AS slot_s FROM ledger
WHERE SkuMeter = 'Core' AND x_CostKind <> 'saved' GROUP BY x_RunId, x_CostKind
"""
