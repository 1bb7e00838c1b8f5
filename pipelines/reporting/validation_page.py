"""A check of a job's input as one HTML page that needs nothing else; made from the tables alone.

Of the rows it shows what their values look like, never the values, a key or a parser's message, unless
that is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Template

from millrace.pipelines.console.formatting import NONE, count, day, percent
from millrace.pipelines.lake.atomic_file import whole
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.query.lake_reader import Row
from millrace.pipelines.query.validation_details import (
    CHECKS,
    LOOKED_AT,
    Example,
    ValidationDetails,
    read,
)
from millrace.pipelines.reporting import rule_charts
from millrace.pipelines.reporting.rendering import template
from millrace.pipelines.reporting.rule_charts import SharePoint
from millrace.pipelines.reporting.value_masking import kind_of, kind_text, shape
from millrace.schemas.rule import MALFORMED

SHOWN = 5  # examples of a rule
COMBINATIONS = 12  # sets of rules with a line of their own
_LONGEST = 120  # characters of a value that are shown
_GATES = ("critical",)
_TAGS = ("warn", "warning", "info")
_ABOUT_THE_TABLE = "ExpectTable"  # what such an expectation observed is no row's value


def write(lake: LakeLocation, run_id: str, *, show_examples: bool = False) -> Path:
    """Write the page of a check and return its path; the page appears whole or not at all.

    ``show_examples``: with values and keys of refused rows. Raises UsageError where the lake has no
    such check.
    """
    page = _page(read(lake, run_id), show_examples=show_examples)
    path = lake.validation_page(run_id)
    with whole(path) as draft:
        draft.write_text(page, encoding="utf-8")
    return path


def _page(details: ValidationDetails, *, show_examples: bool) -> str:
    measured = [rule for rule in details.rules if _share(rule) is not None]
    shares = [max(_share(rule) or 0.0, rule["threshold"] or 0.0) for rule in measured]
    top = rule_charts.top_of([one for one in shares if one < 1] or [0.0])
    trends = _trends(details)
    rules = [_rule(rule, top, trends, show_examples=show_examples) for rule in details.rules]
    broken = sorted(
        [rule for rule in rules if rule["failed"] or not rule["passed"]],
        key=lambda rule: (not _shuts(rule), -(rule["share"] or 0.0), rule["rule"]),
    )
    return _template().render(
        run_id=details.run_id,
        run=details.run,
        job=details.job,
        at=max(rule["at"] for rule in details.rules),
        suite=details.rules[0]["suite_fingerprint"],
        rows=details.rows,
        refused=details.refused,
        state=_state(details),
        shut=[rule["rule"] for rule in details.rules if _shuts(rule)],
        broken=broken,
        kept=[rule for rule in rules if not rule["failed"] and rule["passed"]],
        top=top,
        checks=len(details.past),
        most_checks=CHECKS,
        together=_combinations(details),
        others=details.together[COMBINATIONS:],
        examples=[
            _examples(rule, details.examples.get(rule["rule"], []), show_examples=show_examples)
            for rule in broken
            if rule["failed"]
        ],
        show_examples=show_examples,
        looked_at=LOOKED_AT,
    )


def _state(details: ValidationDetails) -> str:
    """Whether the gate let the rows through: refused, open, or shut by a rule."""
    if details.run is not None and details.run["state"] == "refused":
        return "refused"
    return "refused" if any(map(_shuts, details.rules)) else "open"


def _shuts(rule: Row) -> bool:
    """Whether it shut the gate: critical, or a rule of rows that failed on more than it may."""
    if rule["passed"] is not False:
        return False
    of_rows = rule["kind"] != "expectation"
    return rule["severity"] in _GATES or (of_rows and bool(rule["threshold"]))


def _share(rule: Row) -> float | None:
    """The share of rows that broke it; None where rows were not counted."""
    if rule["failed"] is None or not rule["checked"]:
        return None
    return float(rule["failed"] / rule["checked"])


def _rule(
    rule: Row, top: float, trends: dict[Any, list[tuple[float, str]]], *, show_examples: bool
) -> Row:
    share, limit = _share(rule), rule["threshold"] or 0.0
    bar = None
    if share is not None:
        css = "k-tagged" if rule["severity"] in _TAGS else "k-refused"
        most = f"; at most {percent(limit)} may" if limit else ""
        rows = f"{rule['failed']:,} of {rule['checked']:,} rows"
        title = f"{rule['rule']}: {rows} broke it, {percent(share)}{most}"
        bar = rule_charts.share_bar(share, limit, top, css, title)
    return {
        **rule,
        "share": share,
        "bar": bar,
        "trend": _trend(rule, trends.get(_name(rule), [])),
        "good": _good(rule),
        "outcome": _outcome(rule),
        "observed": _observed(rule, show_examples=show_examples),
    }


def _good(rule: Row) -> tuple[str, str]:
    """What good data is like: in words, and, where words do not do, in the contract's own text."""
    if rule["kind"] == "unique":
        return "a value that no other row has", ""
    if MALFORMED in (rule["columns"] or ()):
        return "a record that can be parsed", ""
    return "", rule["definition"] or NONE


def _outcome(rule: Row) -> tuple[str, str]:
    """What came of it, and the class that colours the words."""
    if rule["passed"] and not rule["failed"]:
        return "kept by every row" if rule["failed"] is not None else "met", "yes"
    if _shuts(rule):
        return "input refused", "no"
    if rule["severity"] in _TAGS:
        return "rows tagged" if rule["failed"] else "not met", ""
    return ("rows quarantined", "no") if rule["failed"] else ("not met", "no")


def _observed(rule: Row, *, show_examples: bool) -> str | None:
    """What an expectation observed; of what may be a row's value, the shape."""
    if rule["kind"] != "expectation" or rule["observed"] in (None, "null"):
        return None
    if show_examples or rule["rule"].startswith(_ABOUT_THE_TABLE):
        return str(rule["observed"])[:_LONGEST]
    try:
        return shape(json.loads(rule["observed"]))
    except ValueError:
        return "it could not be computed"


def _name(rule: Row) -> tuple[str, str, tuple[str, ...]]:
    """What tells a rule from the others of a contract: an expectation may be there for each column."""
    return rule["kind"], rule["rule"], tuple(rule["columns"] or ())


def _trends(details: ValidationDetails) -> dict[Any, list[tuple[float, str]]]:
    """By rule, its failed share and fingerprint in each check that counted its rows."""
    found: dict[Any, list[tuple[float, str]]] = {}
    for check in details.past:
        for rule in check:
            share = _share(rule)
            if share is not None:
                found.setdefault(_name(rule), []).append((share, rule["fingerprint"]))
    return found


def _trend(rule: Row, past: Sequence[tuple[float, str]]) -> Row | None:
    """The picture of the rule's checks and what it says in words; None where there is nothing to compare."""
    if len(past) < 2:  # noqa: PLR2004 - one point is no line
        return None
    points = [SharePoint(share, fingerprint == rule["fingerprint"]) for share, fingerprint in past]
    largest = max(point.share for point in points)
    others = sum(not point.is_same for point in points)
    words = f"{percent(points[-2].share)} before, {percent(largest)} at most"
    other = f"; {others} under another definition" if others else ""
    spoken = ", ".join(percent(point.share) for point in points)
    title = f"{rule['rule']}: failed share in {len(points)} checks, oldest first: {spoken}{other}"
    return {"picture": rule_charts.sparkline(points, title), "summary": words, "others": others}


def _combinations(details: ValidationDetails) -> list[Row]:
    """The sets of rules that rows broke together, each with its rows and its bar."""
    most = details.together[0][1] if details.together else 1
    return [
        {
            "rules": rules,
            "rows": rows,
            "share": rows / details.refused,
            "bar": rule_charts.share_bar(
                rows / details.refused, 0.0, most / details.refused, "k-refused",
                f"{rows:,} of {details.refused:,} quarantined rows broke {' and '.join(rules)}",
            ),
        }
        for rules, rows in details.together[:COMBINATIONS]
    ]  # fmt: skip


def _examples(rule: Row, examples: Sequence[Example], *, show_examples: bool) -> Row:
    """A rule's examples, most frequent first: what values look like, or the values, each with a row's key."""
    groups: dict[Any, list[Example]] = {}
    for example in examples:
        looks = {name: kind_of(value)[0] for name, value in example.values.items()}
        seen = example.values if show_examples else looks
        groups.setdefault(repr(list(seen.items())), []).append(example)
    most = sorted(groups.values(), key=len, reverse=True)
    tell = _written if show_examples else _alike
    return {
        "rule": rule["rule"],
        "looked_at": len(examples),
        "shapes": [
            {
                "values": [(n, tell([e.values[n] for e in group])) for n in group[0].values],
                "rows": len(group),
                "key": _cut(group[0].key) if show_examples else None,
            }
            for group in most[:SHOWN]
        ],
        "more": len(most[SHOWN:]),
    }


def _alike(values: Sequence[Any]) -> str:
    """What values of one kind look like."""
    found = [kind_of(value) for value in values]
    return kind_text(found[0][0], [length for _, length in found])


def _written(values: Sequence[Any]) -> str:
    return _cut(json.dumps(values[0], ensure_ascii=False))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


@cache
def _template() -> Template:
    return template("validation", count, percent, day)
