"""All runs of a lake on one HTML page that needs nothing else: how each ended, what it cost, and trends.

Made from the tables alone. It has no value of a row, and of errors their kind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Template
from markupsafe import Markup

from millrace.pipelines.console.formatting import count, day, duration, moment, money, percent
from millrace.pipelines.lake.atomic_file import whole
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.query import run_details
from millrace.pipelines.query.lake_reader import LakeReader, Row
from millrace.pipelines.query.run_details import KINDS
from millrace.pipelines.reporting import charts
from millrace.pipelines.reporting.charts import Segment
from millrace.pipelines.reporting.job_trends import job_trends
from millrace.pipelines.reporting.rendering import template
from millrace.schemas import figures
from millrace.schemas.errors import UsageError
from millrace.schemas.figures import BEGINS
from millrace.schemas.tables.ledger import LEDGER
from millrace.schemas.tables.runs import UNITS
from millrace.schemas.tables.validation import QUARANTINE, VALIDATIONS

SHOWN = 200  # runs of a job with a line of their own, the newest
TRENDED = 100  # runs of a job that its trends are drawn of


def write(lake: LakeLocation) -> Path:
    """Write the page and return its path; it appears whole or not at all.

    Raises UsageError where the lake has no run.
    """
    page = _page(LakeReader(lake))
    path = lake.index_page
    with whole(path) as draft:
        draft.write_text(page, encoding="utf-8")
    return path


def _page(lake: LakeReader) -> str:
    runs = lake.runs(_RUNS)
    if not runs:
        raise UsageError(f"no runs in {lake.lake}", next="run a job that writes there first")
    known = _known(lake)
    every = [_run(lake.lake, run, known) for run in runs]
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


def _known(lake: LakeReader) -> dict[str, dict[str, Any]]:
    """By run: rows as far as it came, what it cost by the ledger, and the seconds of slots by kind."""
    found: dict[str, dict[str, Any]] = {}
    for sql, table in (
        (_ENDED, UNITS), (_REFUSED, QUARANTINE), (_CHECKED, VALIDATIONS), (_SPENT, LEDGER),
    ):  # fmt: skip
        for row in lake.rows(sql, table.name):
            found.setdefault(row["run_id"], {}).update(row)
    for row in lake.rows(_UNITS, UNITS.name):
        found.setdefault(row["run_id"], {}).setdefault("units", []).append(row)
    for row in lake.rows(_KINDS, LEDGER.name):
        kinds = found.setdefault(row["run_id"], {}).setdefault("kinds", {})
        kinds[row["kind"]] = row["slot_s"]
    return found


def _run(lake: LakeLocation, run: Row, every: dict[str, dict[str, Any]]) -> Row:
    """A run with what the other tables say of it; None where nothing does."""
    known = every.get(run["run_id"], {})

    def first(*values: Any) -> Any:
        return next((value for value in values if value is not None), None)

    counts = {
        name: first(run[name], known.get(name)) for name in ("scored", "failed", "quarantined")
    }
    read = first(run["rows_read"], known.get("checked"))
    cost = first(run["cost"], known.get("spent"))
    scored, kinds = counts["scored"] or 0, known.get("kinds", {})
    return {
        **run,
        **counts,
        "rows_read": read,
        "cost": cost,
        "currency": first(run["currency"], known.get("currency")),
        "per_thousand": cost * 1000 / scored if cost is not None and scored else None,
        "rows_per_s": figures.rows_per_s(
            figures.scored_now(scored, run["all_began"] or [], known.get("units", [])),
            run["infer_s"],
        ),
        "refused_share": counts["quarantined"] / read
        if read and counts["quarantined"] is not None
        else None,
        "clock_s": None
        if run["state"] in BEGINS
        else first(
            run["wall_s"], (run["at"] - (run["last_began"] or run["began"])).total_seconds()
        ),
        "why": run_details.reason(run)["kind"],
        "flow": _flow(read, counts),
        "time": _time(kinds),
        "useful": kinds.get("useful", 0.0) / (sum(kinds.values()) or 1.0),
        "report": _link(LakeLocation.report_page, lake, run["run_id"]),
        "validation": _link(LakeLocation.validation_page, lake, run["run_id"]),
    }


def _link(
    path_of: Callable[[LakeLocation, str], Path], lake: LakeLocation, run_id: str
) -> str | None:
    """The name of a run's page, where there is one; an id that can name no file has none."""
    try:
        path = path_of(lake, run_id)
    except UsageError:
        return None
    return path.name if path.is_file() else None


def _flow(read: int | None, counts: Row) -> Markup | None:
    if not read:
        return None
    parts = [
        Segment("scored", counts["scored"] or 0, "k-useful"),
        Segment("quarantined", counts["quarantined"] or 0, "k-refused"),
        Segment("failed", counts["failed"] or 0, "k-failed"),
    ]
    rest = max(0, read - sum(int(part.value) for part in parts))
    parts.append(Segment("not scored", rest, "k-held"))
    summary = ", ".join(f"{part.value:,} {part.label}" for part in parts if part.value)
    return charts.bar(parts, f"Of {read:,} rows: {summary or 'none'}", least=14.0)


def _time(kinds: dict[str, float]) -> Markup | None:
    named = [kind for kind in KINDS if kinds.get(kind)]
    if not named:
        return None
    parts = [Segment(KINDS[kind], kinds[kind], f"k-{kind}") for kind in named]
    summary = "; ".join(f"{part.label}: {duration(part.value)}" for part in parts)
    return charts.bar(parts, summary, least=8.0)


def _job(name: str, runs: Sequence[Row]) -> dict[str, Any]:
    """A job's part of the page: its newest runs, and its trends over those that are done."""
    newest = sorted(runs, key=lambda run: (run["number"] or 0, run["at"]), reverse=True)
    done = [run for run in reversed(newest) if run["state"] == "done"][-TRENDED:]
    return {
        "name": name,
        "runs": newest[:SHOWN],
        "more": max(0, len(newest) - SHOWN),
        "count": len(newest),
        "trends": job_trends(done) if len(done) > 1 else [],
    }


@cache
def _template() -> Template:
    return template("index", count, money, percent, duration, moment, day)


_RUNS = """
SELECT latest.*, events.began, events.attempts, events.last_began,
  events.all_began FROM runs_current AS latest
JOIN (
  SELECT run_id, MIN(at) AS began, COUNT(*) FILTER (WHERE state IN ('started', 'resumed')) AS attempts,
    MAX(at) FILTER (WHERE state IN ('started', 'resumed')) AS last_began,
    ARRAY_AGG(at) FILTER (WHERE state IN ('started', 'resumed')) AS all_began FROM runs GROUP BY run_id
) AS events ON latest.run_id = events.run_id
ORDER BY latest.job, latest.number, latest.at
"""
_UNITS = "SELECT run_id, unit, state, seconds, scored, at FROM units"
_ENDED = """
SELECT run_id, SUM(scored) AS scored, SUM(failed) AS failed FROM (
  SELECT run_id, unit, MAX(scored) AS scored, MAX(failed) AS failed FROM units
  WHERE state = 'done' GROUP BY run_id, unit
) AS counted GROUP BY run_id
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
