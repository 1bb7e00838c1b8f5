"""A suggestion as the first sections of a job file, every rule with the reason for it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from pipelines.suggest import Suggestion
from pipelines.suggestion import SuggestedColumn
from schemas.excerpt import shown

_WIDE = 100_000  # no line is folded
_ROWS_LEFT = 0.5  # share of today's rows below which some are missing


def as_yaml(found: Suggestion) -> str:
    """The text of a job file but for its model: name, source, key and contract."""
    return "\n".join(_lines(found)) + "\n"


def as_json(found: Suggestion) -> dict[str, Any]:
    """The same as values, with what it was found from."""
    return {
        "source": _source(found),
        "key": [found.key] if found.key else [],
        "contract": {
            **found.contract().model_dump(mode="json", exclude={"expectations"}),
            "expectations": [expectation for expectation, _ in _expectations(found)],
        },
        "reasons": {
            **{one.name: one.why for one in found.columns},
            **{rule.name: rule.why for one in found.columns for rule in one.rules},
        },
        "rows": found.rows,
        "sampled": found.sampled,
        "malformed": found.malformed,
        "left_out": dict(found.left_out),
        "dropped": [vars(one) for one in found.dropped],
    }


def _lines(found: Suggestion) -> Iterator[str]:
    part = "all of them" if found.sampled >= found.rows - found.malformed else "a sample"
    yield f"# Suggested from {found.sampled:,} of {found.rows:,} rows ({part}), and checked against all."
    yield "# Read it before you use it: it says what the data is like, not what it should be like."
    yield ""
    yield f"name: {_job_name(found.source.path)}"
    yield ""
    yield "source:"
    for name, value in _source(found).items():
        yield f"  {name}: {_scalar(value)}"
    if found.key:
        yield f"key: [{_scalar(found.key)}]{_comment('no null, and no value twice')}"
    else:
        yield "key: []  # no column is without nulls and repeats: name those that identify a row together"
    yield ""
    yield "contract:"
    yield "  columns:"
    for column in found.columns:
        yield _column_line(column)
    for name, kind in found.left_out:
        yield f"    # left out: {shown(name)}, {shown(kind)}"
    yield from _rule_lines(found)
    yield "  expectations:"
    for expectation, why in _expectations(found):
        yield f"    #{_comment(why).removeprefix('  #')}"
        yield f"    - {_flow(expectation)}"
    yield ""
    why = "none of today's rows is refused"
    if found.malformed:
        why = f"{found.malformed:,} of today's {found.rows:,} records cannot be parsed; twice that"
    yield f"  max_quarantined: {found.max_quarantined}{_comment(why)}"
    yield ""
    yield "# Then name the model and the lake: model: {uri: ...}, output: {path: lake/}"


def _rule_lines(found: Suggestion) -> Iterator[str]:
    rules = [rule for column in found.columns for rule in column.rules]
    yield "  rules:" if rules else "  rules: []"
    for rule in rules:
        yield f"    #{_comment(rule.why).removeprefix('  #')}"
        yield f"    - {{name: {rule.name}, holds: {_text(rule.holds)}, on_null: pass}}"
    for one in found.dropped:
        why = f"dropped: {one.what}, which {one.failed:,} of all {one.rows:,} rows do not keep"
        yield f"    #{_comment(why).removeprefix('  #')}"
    yield ""


def _column_line(column: SuggestedColumn) -> str:
    parts = {"type": column.type, "nullable": column.nullable}
    parts |= {"unique": True} if column.unique else {}
    why = column.why + ("; no value twice" if column.unique else "")
    return f"    {_scalar(column.name)}: {_flow(parts)}{_comment(why)}"


def _expectations(found: Suggestion) -> Iterator[tuple[dict[str, Any], str]]:
    """Expectations about the table, each with its reason."""
    least = max(1, int(found.rows * _ROWS_LEFT))
    yield (
        {"expect": "ExpectTableRowCountToBeBetween", "min_value": least},
        f"{found.rows:,} rows today; fewer than half of that, and some are missing",
    )
    for column in found.columns:
        if column.not_null_share:
            about = {"expect": "ExpectColumnValuesToNotBeNull", "column": column.name}
            yield (
                {**about, "mostly": column.not_null_share, "severity": "warning"},
                f"{column.why}; more than twice as many would be a change",
            )


def _source(found: Suggestion) -> dict[str, Any]:
    return found.source.model_dump(mode="json", exclude_defaults=True)


def _job_name(path: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", Path(path.rstrip("/")).name.split(".")[0].lower()).strip("-")
    return (name if name[:1].isalpha() else f"job-{name}")[:60].rstrip("-")


def _flow(parts: dict[str, Any]) -> str:
    return "{" + ", ".join(f"{name}: {_scalar(value)}" for name, value in parts.items()) + "}"


def _scalar(value: Any) -> str:
    """A value as YAML inside of braces; texts without quotes where they need none."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    text = str(value)
    plain = re.fullmatch(r"[A-Za-z_./][A-Za-z0-9_./-]*(?:\(\d+)?", text)
    return text if plain and yaml.safe_load(text) == text else _text(text)


def _text(text: str) -> str:
    """A text in double quotes."""
    dumped = yaml.safe_dump(text, default_style='"', allow_unicode=True, width=_WIDE)
    return dumped.strip().removesuffix("...").strip()


def _comment(text: str) -> str:
    return f"  # {shown(text)}"
