"""A run as one HTML page that needs nothing else; made from the tables alone.

Of refused rows the page has counts by rule, never a key, a payload or a parser's message; of errors
it has what Millrace says, not what a library's exception quotes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from jinja2 import Template
from markupsafe import Markup

from millrace.pipelines.console.formatting import (
    carbon,
    count,
    day,
    duration,
    energy,
    exact,
    gates_text,
    moment,
    money,
    percent,
    seconds,
    size,
)
from millrace.pipelines.lake.atomic_file import whole
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.query.lake_reader import Row
from millrace.pipelines.query.run_details import (
    KINDS,
    RunDetails,
    gates_of,
    in_order,
    read,
    reason,
    row_outcomes,
)
from millrace.pipelines.reporting import charts
from millrace.pipelines.reporting.charts import Segment
from millrace.pipelines.reporting.comparison import as_object, books, drawn, forecast_rows
from millrace.pipelines.reporting.rendering import template
from millrace.schemas import figures

METHODS = {  # what people call the methods of energy
    "counter": "Counted by cards and processors",
    "rapl": "Counted by processors (RAPL)",
    "tdp": "Estimated from the load",
    "constant": "Estimated without the load",
}
_OUTCOMES = {  # what becomes of a row, and the class that colours it
    "scored": "k-useful",
    "not scored": "k-other",
    "quarantined": "k-refused",
    "failed": "k-failed",
}
_QUOTED = {
    "InputCorrupt",
    "OutputMismatch",
    "BudgetExceeded",
    "ClaimHeld",
}  # `got` has no row's value


def write(lake: LakeLocation, run_id: str) -> Path:
    """Write the report of a run and return its path; the page appears whole or not at all.

    Raises UsageError where the lake has no such run.
    """
    page = _page(read(lake, run_id), lake.validation_page(run_id))
    path = lake.report_page(run_id)
    with whole(path) as draft:
        draft.write_text(page, encoding="utf-8")
    return path


def rows_flow(details: RunDetails) -> tuple[int | None, list[Segment]]:
    """Return the rows that were read, None where unknown, and what became of them."""
    total, outcomes = row_outcomes(details)
    return total, [Segment(name, rows, _OUTCOMES[name]) for name, rows in outcomes.items()]


def _page(details: RunDetails, validation: Path) -> str:
    run, why = details.run, reason(details.run)
    total, outcomes = rows_flow(details)
    slot_s, compared = details.spent["slot_s"] or 0.0, books(details)
    shown = [_partition(row, details.partitions[0]["slot_s"]) for row in details.partitions]
    return _template().render(
        run=run,
        details=details,
        validation=validation.name if validation.is_file() else None,
        why={**why, "got": why["got"] if why["kind"] in _QUOTED else ""},
        began=details.events[0]["at"],
        attempts=len(details.began),
        clock_s=run["wall_s"] or (run["at"] - details.began[-1]).total_seconds(),
        rate=figures.rows_per_s(details.scored_now, run["infer_s"]),
        groups=figures.grouped(details.kinds),
        group_of=figures.group_of,
        part_of=figures.part_of,
        state_of_books=figures.books(run["state"], run["books_closed"], [c[1] for c in compared]),
        total=total,
        outcomes={part.label: int(part.value) for part in outcomes},
        flows=_flows(total, outcomes),
        slot_s=slot_s,
        total_bar=charts.bar(_parts(details.kinds), _caption(_parts(details.kinds))),
        names=KINDS,
        methods=METHODS,
        basis=as_object(run["forecast"]).get("basis"),
        partitions=shown,
        others=_others(details),
        rules=[{**rule, "bar": _rule_bar(rule)} for rule in details.rules],
        shut=[r for r in details.rules if r["severity"] == "critical" and r["passed"] is False],
        books=compared,
        gates=gates_of(run),
        gates_text=gates_text,
        forecast=forecast_rows(run),
        drawn=drawn(details.energy),
        grid=as_object(run["price"]).get("grid"),
        pinned={
            "root": None,
            "sha256": None,
            "files": None,
            "empty_files": 0,
            "ignored": (),
            "value": None,
            **as_object(run["pinned_input"]),
        },
        settings=as_object(run["settings"]),
        ways=[_way(row, details.ways[0]["rows_per_s"]) for row in details.ways],
    )


def _way(row: Row, reference: float | None) -> Row:
    """A way to compute, how many times as fast as fp32 it is, and how far from it."""
    rate, errors = row["rows_per_s"], as_object(row["errors"])
    texts = {
        "min_cosine": "cosine at least {:.5f}",
        "equal_labels": "{:.2%} equal labels",
        "max_relative_error": "off by {:.2g} of the spread",
    }
    far = [text.format(float(errors[name])) for name, text in texts.items() if name in errors]
    return {**row, "times": rate / reference if rate and reference else None, "far": ", ".join(far)}


def _flows(total: int | None, outcomes: Sequence[Segment]) -> list[Markup]:
    """Draw the flow twice: for a page and for a phone."""
    if not total:
        return []
    source = Segment("read", total, "k-source")
    counts = ", ".join(f"{part.value:,} {part.label}" for part in outcomes)
    title = f"Of {total:,} rows read: {counts}."
    return [charts.flow(source, outcomes, title, width=width) for width in (640.0, 340.0)]


def _parts(kinds: Sequence[Row]) -> list[Segment]:
    return [
        Segment(
            f"{KINDS.get(row['kind'], row['kind'])}: {seconds(row['slot_s'])} s", row["slot_s"], css
        )
        for row in kinds
        for css in [f"k-{row['kind']}" if row["kind"] in KINDS else "k-other"]
    ]


def _caption(parts: Sequence[Segment]) -> str:
    return "; ".join(part.label for part in parts if part.value) or "No time was recorded"


def _partition(row: Row, longest_s: float) -> Row:
    """Add the bar of a partition, as long as its share of the longest."""
    found = {name.removesuffix("_s"): row[name] for name in row if name.endswith("_s")}
    slot_s = found.pop("slot")
    kinds = [{"kind": kind, "slot_s": found[kind]} for kind in sorted(found, key=in_order)]
    rest = round(slot_s - sum(found.values()), 3)
    parts = _parts([*kinds, {"kind": "other", "slot_s": max(0.0, rest)}])
    most = "useful" if row["rows_scored"] else max(found, key=found.__getitem__)
    name = "No task" if row["stage_id"] is None else KINDS[most] if found[most] else "Other work"
    return {**row, "name": name, "bar": charts.bar(parts, _caption(parts), whole=longest_s or 1.0)}


def _others(details: RunDetails) -> Row | None:
    """What the partitions without a line of their own come to; None where there are none."""
    more = details.spent["partitions"] - len(details.partitions)
    if more <= 0:
        return None
    names = ("attempts", "rows_scored", "slot_s", "cost")
    sums = {name: sum(row[name] or 0 for row in details.partitions) for name in names}
    return {"partitions": more, **{n: (details.spent[n] or 0) - sums[n] for n in names}}


def _rule_bar(rule: Row) -> Markup | None:
    if rule["failed"] is None or not rule["checked"]:
        return None
    css = "k-tagged" if rule["severity"] in ("warn", "warning", "info") else "k-refused"
    failed, good = rule["failed"], max(0, rule["checked"] - rule["failed"])
    title = f"{rule['rule']}: {failed:,} of {rule['checked']:,} rows failed"
    parts = [Segment(f"{failed:,} failed", failed, css), Segment(f"{good:,} held", good, "k-held")]
    return charts.bar(parts, title, least=12.0)


@cache
def _template() -> Template:
    return template(
        "report",
        count, exact, money, percent, seconds, duration, size, moment, day, energy, carbon,
    )  # fmt: skip
