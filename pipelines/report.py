"""A run as one HTML page that needs nothing else; made from the tables alone.

Of refused rows the page has counts by rule, never a key, a payload or a parser's message; of errors
it has what Millrace says, not what a library's exception quotes.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from pipelines import charts
from pipelines.charts import Part
from pipelines.query import query
from pipelines.views import quoted, tables
from schemas.errors import UsageError
from schemas.tables import LEDGER, QUARANTINE, RUNS, VALIDATIONS

Row = dict[str, Any]
NONE = "\u2013"  # a dash where there is no number
PLACES = 12  # decimals of the ledger
SHOWN = 12  # partitions with a line of their own; the others share one
KINDS = {  # what people call a kind of cost, in the order of the bars
    "useful": "Scoring rows",
    "validation": "Checking rows",
    "read": "Waiting for rows",
    "write": "Writing",
    "model_load": "Loading the model",
    "startup": "Starting Python",
    "unattributed": "Not attributed",
    "killed": "Killed attempts",
    "failed": "Failed attempts",
    "uncommitted": "Scored, not committed",
}
NO_SPENDING: Row = {
    "partitions": 0,
    "applications": 0,
    "attempts": None,
    "rows_scored": None,
    "slot_s": None,
    "cost": None,
    "currency": None,
}
_FIELD = re.compile(r"\n  (got|allowed|next): +")
_QUOTED = {
    "InputCorrupt",
    "OutputMismatch",
    "BudgetExceeded",
    "ClaimHeld",
}  # `got` has no row's value
_CREDENTIALS = re.compile(r"://[^/@\s]*@")


@dataclass(frozen=True)
class Facts:
    """What the tables of a lake know about one run; a table that is not there gives nothing."""

    run: Row  # its last event
    events: list[Row]
    rules: list[Row]
    reasons: list[Row]  # rule, severity, rows
    kinds: list[Row]  # kind, slot_s, cost
    partitions: list[Row]  # as the view cost_by_partition has them, longest first, SHOWN at most
    spent: Row  # partitions, applications, attempts, rows_scored, slot_s, cost, currency
    waste: list[Row]
    prices: list[Row]
    counted: dict[str, int | None]  # rows in the tables: scored, failed, quarantined


def write(lake: Path, run_id: str) -> Path:
    """Write the report of a run and return its path; the page appears whole or not at all.

    Raises UsageError where the lake has no such run.
    """
    page = _page(read(lake, run_id))
    path = path_of(lake, run_id)
    path.parent.mkdir(exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        draft.write_text(page, encoding="utf-8")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return path


def path_of(lake: Path, run_id: str) -> Path:
    """Say where a run's page is, or will be. Raises UsageError for an id that is no file name."""
    if not re.fullmatch(r"[\w-][\w.-]*", run_id):
        raise UsageError(
            "a run id cannot name a file", got=run_id, allowed="letters, digits, _ - ."
        )
    return lake / "_reports" / f"{run_id}.html"


def read(lake: Path, run_id: str) -> Facts:
    """Read what the tables know about a run. Raises UsageError where there is no such run."""
    there, run = set(tables(lake)), _text(run_id)

    def rows(table: str, sql: str) -> list[Row]:
        found: list[Row] = query(lake, sql).to_pylist() if table in there else []
        return found

    events = rows(RUNS.name, f"SELECT * FROM runs WHERE run_id = {run} ORDER BY event")  # noqa: S608
    if not events:
        raise UsageError(f"no run {run_id} in {lake}", next=f"millrace runs --lake {lake}")
    refused = rows(QUARANTINE.name, _REFUSED.format(run=run))
    predictions = "predictions_" + str(events[-1]["job"]).replace("-", "_")
    made = rows(predictions, _PREDICTED.format(run=run, table=quoted(predictions)))
    counted = (made or [{"scored": None, "failed": None}])[0]
    return Facts(
        run=events[-1],
        events=events,
        rules=rows(VALIDATIONS.name, _RULES.format(run=run)),
        reasons=rows(QUARANTINE.name, _REASONS.format(run=run)),
        kinds=sorted(
            rows(LEDGER.name, _KINDS.format(run=run)), key=lambda row: _order(row["kind"])
        ),
        partitions=rows(LEDGER.name, _PARTITIONS.format(run=run, shown=SHOWN)),
        spent=(rows(LEDGER.name, _SPENT.format(run=run)) or [NO_SPENDING])[0],
        waste=rows(LEDGER.name, _WASTE.format(run=run)),
        prices=rows(LEDGER.name, _PRICES.format(run=run)),
        counted={**counted, "quarantined": refused[0]["rows"] if refused else None},
    )


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


def books(facts: Facts) -> list[tuple[str, bool | None, str]]:
    """List what must add up: its name, whether it does (None: unknown), and the numbers in words."""
    run, counted, spent = facts.run, facts.counted, facts.spent
    there = run["scored"], run["quarantined"], run["failed"]
    made = None if counted["scored"] is None else counted["scored"] + (counted["failed"] or 0)
    said = None if run["scored"] is None else run["scored"] + (run["failed"] or 0)
    coverage, cost = run["ledger_coverage"], spent["cost"]
    total = None if None in there else sum(there)
    rows = "The run did not get as far as counting its rows"
    if total is not None:
        parts = "{:,} scored + {:,} refused + {:,} failed".format(*there)
        rows = f"{parts} = {total:,}, and {count(run['rows_read'])} were read"
    return [
        ("Every row is accounted for", None if total is None else total == run["rows_read"], rows),
        _same("The predictions table agrees", "rows", made, said),
        _same("The quarantine table agrees", "rows", counted["quarantined"], run["quarantined"]),
        (
            "Task time was metered",
            None if coverage is None else coverage >= 0.95,  # noqa: PLR2004 - as ACCOUNTING asks
            "No task times of Spark's to compare with"
            if coverage is None
            else f"{percent(coverage)} of the inference stage's task time is in the meters; "
            "95% is asked for, and the rest is listed as not attributed",
        ),
        _same("The ledger agrees on cost", run["currency"] or "", cost, run["cost"]),
    ]


def _same(name: str, unit: str, found: Any, said: Any) -> tuple[str, bool | None, str]:
    one, other = (
        exact(value) if value is None else f"{exact(value)} {unit}" for value in (found, said)
    )
    if found is None or said is None:
        return (
            name,
            None,
            f"Nothing to compare: in the table {one}, in the run's own report {other}",
        )
    return name, found == said, f"The table has {one}, the run reported {other}"


def _page(facts: Facts) -> str:
    run, why = facts.run, reason(facts.run)
    total, outcomes = rows_flow(facts)
    held = facts.spent["slot_s"] or 0.0
    shown = [_partition(row, facts.partitions[0]["slot_s"]) for row in facts.partitions]
    return _template().render(
        run=run,
        facts=facts,
        why={**why, "got": why["got"] if why["kind"] in _QUOTED else ""},
        began=facts.events[0]["at"],
        clock_s=run["wall_s"] or (run["at"] - facts.events[0]["at"]).total_seconds(),
        total=total,
        outcomes={part.label: int(part.value) for part in outcomes},
        flows=_flows(total, outcomes),
        held=held,
        total_bar=charts.bar(_parts(facts.kinds), _told(_parts(facts.kinds))),
        names=KINDS,
        partitions=shown,
        others=_others(facts),
        rules=[{**rule, "bar": _rule_bar(rule)} for rule in facts.rules],
        shut=[r for r in facts.rules if r["severity"] == "critical" and r["passed"] is False],
        books=books(facts),
        pinned={
            "root": None,
            "sha256": None,
            "files": None,
            "value": None,
            **_object(run["pinned_input"]),
        },
        settings=_object(run["settings"]),
    )


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
    kinds = [{"kind": kind, "slot_s": found[kind]} for kind in sorted(found, key=_order)]
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


def _order(kind: str) -> int:
    return list(KINDS).index(kind) if kind in KINDS else len(KINDS)


def _object(text: str | None) -> Row:
    """Read a JSON object; anything else under the name ``value``. Credentials in a URI are cut out."""
    shown = _CREDENTIALS.sub("://", text or "{}")
    try:
        found = json.loads(shown)
    except ValueError:
        found = shown
    return found if isinstance(found, dict) else {"value": found}


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    shown = (count, exact, money, percent, seconds, duration, size, moment, day)
    environment.filters |= {function.__name__: function for function in shown}
    text = (files("pipelines") / "templates" / "report.html.j2").read_text(encoding="utf-8")
    return environment.from_string(text)


def count(value: int | None) -> str:
    """A whole number with its thousands apart."""
    return NONE if value is None else f"{value:,}"


def exact(value: Decimal | float | None) -> str:
    """Every digit, and no exponent."""
    if value is None:
        return "unknown"
    text = f"{Decimal(str(value)):,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def money(value: Decimal | None, like: Decimal | None = None) -> str:
    """Three digits that count, two decimals from 1 on; with `like`, its decimals and two more."""
    if value is None:
        return NONE
    value, model = Decimal(value), Decimal(value if like is None else like)
    if not value:
        return "0"
    places = 2 if abs(model) >= 1 or not model else 2 - model.adjusted()
    return f"{value:,.{places if like is None else min(PLACES, places + 2)}f}"


def percent(share: float | None) -> str:
    """A share of 0 to 1; what is small, but there, is not shown as 0, nor what is not all as 100."""
    if share is None:
        return NONE
    if 0 < share < 0.001 or 0.999 < share < 1:  # noqa: PLR2004 - a digit of the page
        return "<0.1%" if share < 0.5 else ">99.9%"  # noqa: PLR2004
    return f"{100 * share:.1f}".removesuffix(".0") + "%"


def seconds(value: float | None) -> str:
    """Seconds to the millisecond, which is what the ledger has."""
    return NONE if value is None else f"{value:,.3f}"


def duration(value: float) -> str:
    """A time as people say it."""
    minutes, whole = divmod(round(value), 60)
    if value < 1:
        return f"{1000 * value:.0f} ms"
    if value < 10:  # noqa: PLR2004 - a second of it is much
        return f"{value:.1f} s"
    if not minutes:
        return f"{whole} s"
    return f"{minutes} min {whole} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"  # noqa: PLR2004


def size(value: float) -> str:
    """Bytes in the unit that fits."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000:  # noqa: PLR2004 - SI
            return f"{value:,.0f} {unit}" if unit == "bytes" else f"{value:,.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"


def moment(at: datetime | None) -> str:
    """A time of UTC to the second."""
    return "unknown" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def day(at: datetime | None) -> str:
    """A time of UTC to the minute, as people write it."""
    return "" if at is None else f"{at.day} {at.astimezone(UTC):%B %Y, %H:%M} UTC"


_RULES = "SELECT * FROM validations WHERE run_id = {run} ORDER BY at, kind DESC, rule"
_REFUSED = "SELECT COUNT(*) AS rows FROM quarantine WHERE run_id = {run}"
_REASONS = """
SELECT reason['rule'] AS rule, reason['severity'] AS severity, COUNT(*) AS rows
FROM (SELECT UNNEST(reasons) AS reason FROM quarantine WHERE run_id = {run}) AS broken
GROUP BY reason['rule'], reason['severity'] ORDER BY rows DESC, rule
"""
_PREDICTED = """
SELECT COUNT(*) - COUNT(error) AS scored, COUNT(error) AS failed FROM {table} WHERE run_id = {run}
"""
_KINDS = """
SELECT x_CostKind AS kind, SUM(EffectiveCost) AS cost,
  CAST(SUM(CASE WHEN SkuMeter = 'Core' THEN x_SlotMs ELSE 0 END) AS DOUBLE) / 1000 AS slot_s
FROM ledger WHERE x_RunId = {run} GROUP BY x_CostKind
"""
_PARTITIONS = """
SELECT * FROM cost_by_partition WHERE run_id = {run}
ORDER BY slot_s DESC, app_id, stage_id, partition_id LIMIT {shown}
"""
_SPENT = """
SELECT COUNT(*) AS partitions, SUM(attempts) AS attempts, SUM(rows_scored) AS rows_scored,
  SUM(slot_s) AS slot_s, SUM(cost) AS cost, MAX(currency) AS currency,
  COUNT(DISTINCT app_id) AS applications
FROM cost_by_partition WHERE run_id = {run}
"""
_WASTE = "SELECT * FROM waste WHERE run_id = {run} ORDER BY slot_s DESC"
_PRICES = """
SELECT SkuMeter AS meter, SkuPriceId AS id, ListUnitPrice AS price, ConsumedUnit AS unit,
  BillingCurrency AS currency, PricingCategory AS category, x_PriceBookVersion AS book,
  x_CostBasis AS basis, SUM(ConsumedQuantity) AS quantity, SUM(EffectiveCost) AS cost
FROM ledger WHERE x_RunId = {run} AND SkuPriceId IS NOT NULL
GROUP BY SkuMeter, SkuPriceId, ListUnitPrice, ConsumedUnit, BillingCurrency, PricingCategory,
  x_PriceBookVersion, x_CostBasis
ORDER BY id
"""
