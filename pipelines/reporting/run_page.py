"""A run as one HTML page that needs nothing else; made from the tables alone.

Of refused rows the page has counts by rule, never a key, a payload or a parser's message; of errors
it has what Millrace says, not what a library's exception quotes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from jinja2 import Template
from markupsafe import Markup

from pipelines import charts
from pipelines.asked import Row
from pipelines.charts import Part
from pipelines.compared import as_object, books, drawn, foretold
from pipelines.facts import KINDS, Facts, gates_of, in_order, read
from pipelines.pages import template
from pipelines.whole_file import whole
from pipelines.words import (
    carbon,
    count,
    day,
    duration,
    energy,
    exact,
    moment,
    money,
    percent,
    seconds,
    size,
)
from schemas.errors import UsageError

METHODS = {  # what people call the methods of energy
    "counter": "Counted by cards and processors",
    "rapl": "Counted by processors (RAPL)",
    "tdp": "Estimated from the load",
    "constant": "Estimated without the load",
}
_FIELD = re.compile(r"\n  (got|allowed|next): +")
_QUOTED = {
    "InputCorrupt",
    "OutputMismatch",
    "BudgetExceeded",
    "ClaimHeld",
}  # `got` has no row's value


def write(lake: Path, run_id: str) -> Path:
    """Write the report of a run and return its path; the page appears whole or not at all.

    Raises UsageError where the lake has no such run.
    """
    page = _page(read(lake, run_id), validation_path_of(lake, run_id))
    path = path_of(lake, run_id)
    with whole(path) as draft:
        draft.write_text(page, encoding="utf-8")
    return path


def path_of(lake: Path, run_id: str) -> Path:
    """Say where a run's page is, or will be. Raises UsageError for an id that is no file name."""
    if not re.fullmatch(r"[\w-][\w.-]*", run_id):
        raise UsageError(
            "a run id cannot name a file", got=run_id, allowed="letters, digits, _ - ."
        )
    return lake / "_reports" / f"{run_id}.html"


def validation_path_of(lake: Path, run_id: str) -> Path:
    """Say where the page about a run's rules is, or will be."""
    return path_of(lake, f"{run_id}-validation")


def reason(run: Row) -> dict[str, str]:
    """Take the detail of an event apart: kind of error, what, got, allowed and next, or empty."""
    kind, _, text = str(run["detail"] or "").partition(": ")
    what, *fields = _FIELD.split(text)
    named = dict.fromkeys(("got", "allowed", "next"), "")
    return {
        "kind": kind,
        "what": what,
        **named,
        **dict(zip(fields[::2], fields[1::2], strict=True)),
    }


def rows_flow(facts: Facts) -> tuple[int | None, list[Part]]:
    """Return the rows that were read, None where unknown, and what became of them."""
    run, counted = facts.run, facts.counted
    done = run["state"] == "done"
    known = run if done else counted
    scored, refused, failed = (known[name] or 0 for name in ("scored", "quarantined", "failed"))
    checked = [rule["checked"] or 0 for rule in facts.rules if rule["kind"] != "expectation"]
    checked = checked or [rule["checked"] or 0 for rule in facts.rules]
    total = run["rows_read"] if done else max(checked, default=None)
    outcomes = [
        Part("scored", scored, "k-useful"),
        Part("refused", refused, "k-refused"),
        Part("failed", failed, "k-failed"),
    ]
    if not done and total is not None:
        rest = max(0, total - scored - refused - failed)
        outcomes.insert(1, Part("not scored", rest, "k-other"))
    return total, outcomes


def _page(facts: Facts, validation: Path) -> str:
    run, why = facts.run, reason(facts.run)
    total, outcomes = rows_flow(facts)
    held = facts.spent["slot_s"] or 0.0
    shown = [_partition(row, facts.partitions[0]["slot_s"]) for row in facts.partitions]
    return _template().render(
        run=run,
        facts=facts,
        validation=validation.name if validation.is_file() else None,
        why={**why, "got": why["got"] if why["kind"] in _QUOTED else ""},
        began=facts.events[0]["at"],
        attempts=len(facts.began),
        clock_s=run["wall_s"] or (run["at"] - facts.began[-1]).total_seconds(),
        total=total,
        outcomes={part.label: int(part.value) for part in outcomes},
        flows=_flows(total, outcomes),
        held=held,
        total_bar=charts.bar(_parts(facts.kinds), _told(_parts(facts.kinds))),
        names=KINDS,
        methods=METHODS,
        basis=as_object(run["forecast"]).get("basis"),
        partitions=shown,
        others=_others(facts),
        rules=[{**rule, "bar": _rule_bar(rule)} for rule in facts.rules],
        shut=[r for r in facts.rules if r["severity"] == "critical" and r["passed"] is False],
        books=books(facts),
        gates=gates_of(run),
        foretold=foretold(run),
        drawn=drawn(facts.energy),
        grid=as_object(run["price"]).get("grid"),
        pinned={
            "root": None,
            "sha256": None,
            "files": None,
            "value": None,
            **as_object(run["pinned_input"]),
        },
        settings=as_object(run["settings"]),
        ways=[_way(row, facts.ways[0]["rows_per_s"]) for row in facts.ways],
    )


def _way(row: Row, reference: float | None) -> Row:
    """A way to compute, how many times as fast as fp32 it is, and how far from it."""
    rate, errors = row["rows_per_s"], as_object(row["errors"])
    told = {
        "min_cosine": "cosine at least {:.5f}",
        "equal_labels": "{:.2%} equal labels",
        "max_relative_error": "off by {:.2g} of the spread",
    }
    far = [text.format(float(errors[name])) for name, text in told.items() if name in errors]
    return {**row, "times": rate / reference if rate and reference else None, "far": ", ".join(far)}


def _flows(total: int | None, outcomes: Sequence[Part]) -> list[Markup]:
    """Draw the flow twice: for a page and for a phone."""
    if not total:
        return []
    source = Part("read", total, "k-source")
    told = ", ".join(f"{part.value:,} {part.label}" for part in outcomes)
    title = f"Of {total:,} rows read: {told}."
    return [charts.flow(source, outcomes, title, width=width) for width in (640.0, 340.0)]


def _parts(kinds: Sequence[Row]) -> list[Part]:
    return [
        Part(
            f"{KINDS.get(row['kind'], row['kind'])}: {seconds(row['slot_s'])} s", row["slot_s"], css
        )
        for row in kinds
        for css in [f"k-{row['kind']}" if row["kind"] in KINDS else "k-other"]
    ]


def _told(parts: Sequence[Part]) -> str:
    return "; ".join(part.label for part in parts if part.value) or "No time was recorded"


def _partition(row: Row, longest_s: float) -> Row:
    """Add the bar of a partition, as long as its share of the longest."""
    found = {name.removesuffix("_s"): row[name] for name in row if name.endswith("_s")}
    held = found.pop("slot")
    kinds = [{"kind": kind, "slot_s": found[kind]} for kind in sorted(found, key=in_order)]
    rest = round(held - sum(found.values()), 3)
    parts = _parts([*kinds, {"kind": "other", "slot_s": max(0.0, rest)}])
    return {**row, "bar": charts.bar(parts, _told(parts), whole=longest_s or 1.0)}


def _others(facts: Facts) -> Row | None:
    """What the partitions without a line of their own come to; None where there are none."""
    more = facts.spent["partitions"] - len(facts.partitions)
    if more <= 0:
        return None
    names = ("attempts", "rows_scored", "slot_s", "cost")
    sums = {name: sum(row[name] or 0 for row in facts.partitions) for name in names}
    return {"partitions": more, **{n: (facts.spent[n] or 0) - sums[n] for n in names}}


def _rule_bar(rule: Row) -> Markup | None:
    if rule["failed"] is None or not rule["checked"]:
        return None
    css = "k-tagged" if rule["severity"] in ("warn", "warning", "info") else "k-refused"
    failed, good = rule["failed"], max(0, rule["checked"] - rule["failed"])
    title = f"{rule['rule']}: {failed:,} of {rule['checked']:,} rows failed"
    parts = [Part(f"{failed:,} failed", failed, css), Part(f"{good:,} held", good, "k-held")]
    return charts.bar(parts, title, least=12.0)


@cache
def _template() -> Template:
    return template(
        "report",
        count, exact, money, percent, seconds, duration, size, moment, day, energy, carbon,
    )  # fmt: skip
