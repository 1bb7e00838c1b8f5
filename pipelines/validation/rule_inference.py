"""Suggested columns of a contract from profiles: rules, keys, and the reason for each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import floor

from millrace.pipelines.validation.range_rules import (
    IDENTIFIER,
    INTEGERS,
    date_rules,
    number_rules,
    timestamp_rules,
)
from millrace.pipelines.validation.text_rules import array_rules, binary_rules, text_rules
from millrace.schemas.predicates import is_plain
from millrace.schemas.rule import quoted
from millrace.schemas.tables import RESERVED
from millrace.udfs.readers.column_profile import ColumnProfile

_MOST_NULLS = 0.5  # share; a column that is mostly null promises nothing
_KEY_NAME = re.compile(r"[^ ,;{}()\n\t=]+")  # what a column of Delta may be called


@dataclass(frozen=True)
class SuggestedRule:
    """A row rule, and why it is one."""

    name: str
    holds: str
    why: str


@dataclass(frozen=True)
class SuggestedColumn:
    """A column's promises, its rules, and why."""

    name: str
    type: str
    nullable: bool
    unique: bool
    why: str
    rules: tuple[SuggestedRule, ...] = field(default=())
    not_null_share: float | None = None  # at least this share has a value; None: no promise
    origin: str | None = None  # the input's own name, where that is another


def suggest_columns(
    types: Mapping[str, str], profiles: Mapping[str, ColumnProfile]
) -> list[SuggestedColumn]:
    """What the columns seem to promise."""
    names = _rule_names(list(types))
    return [
        _column(name, kind, profiles.get(name, ColumnProfile()), names[name])
        for name, kind in types.items()
    ]


def key_of(columns: Sequence[SuggestedColumn], repeated: Mapping[str, bool]) -> str | None:
    """The column that identifies rows: one without nulls and repeats, best one that is named like it."""
    able = [
        one
        for one in columns
        if not one.nullable
        and _KEY_NAME.fullmatch(one.name)
        and one.name.lower() not in RESERVED
        and not repeated.get(one.name, True)
        and (
            one.type in (*INTEGERS, "string", "date", "timestamp") or one.type.startswith("decimal")
        )
    ]
    named = [one for one in able if IDENTIFIER.search(one.name)]
    whole = [one for one in able if one.type in INTEGERS]
    found = named or whole or able
    return found[0].name if found else None


def looks_like_identifier(name: str, profile: ColumnProfile) -> bool:
    """Whether a column that does not repeat is meant not to."""
    return bool(IDENTIFIER.search(name)) or "uuid" in (profile.shapes or ())


def _column(name: str, kind: str, about: ColumnProfile, prefix: str) -> SuggestedColumn:
    rules = [SuggestedRule(f"{prefix}.{n}", h, w) for n, h, w in _rules(name, kind, about)]
    share = about.nulls / about.rows if about.rows else 0.0
    why = (
        f"no null in {about.rows:,} rows"
        if not about.nulls
        else f"{share:.2%} of the rows are null"
    )
    if not about.rows:
        why = "no row was seen"
    unique = (
        not about.repeated
        and not about.nulls
        and about.rows > 1
        and looks_like_identifier(name, about)
    )
    promised = 0 < share <= _MOST_NULLS
    return SuggestedColumn(
        name=name, type=kind, nullable=about.nulls > 0 or not about.rows, unique=unique, why=why,
        rules=tuple(rules), not_null_share=floor(100 * (1 - min(1.0, 2 * share))) / 100 if promised else None,
    )  # fmt: skip


def _rules(name: str, kind: str, about: ColumnProfile) -> Iterator[tuple[str, str, str]]:
    """Name, predicate and reason of each rule of a column."""
    if not about.present:
        return
    column = name if is_plain(name) else quoted(name)
    if kind in INTEGERS or kind in ("float", "double") or kind.startswith("decimal"):
        yield from number_rules(name, column, kind, about)
    for prefix, make in _MAKERS.items():
        if kind.startswith(prefix):
            yield from make(column, about)


_MAKERS: dict[str, Callable[[str, ColumnProfile], Iterator[tuple[str, str, str]]]] = {
    "string": text_rules,
    "binary": binary_rules,
    "array": array_rules,
    "date": date_rules,
    "timestamp": timestamp_rules,
}


def _rule_names(columns: Sequence[str]) -> dict[str, str]:
    """For each column the beginning of its rules' names, which take letters, digits and _."""
    found: dict[str, str] = {}
    for number, name in enumerate(columns, start=1):
        plain = re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_")
        plain = plain if plain and not plain[0].isdigit() else f"column_{number}"
        found[name] = plain if plain not in found.values() else f"{plain}_{number}"
    return found
