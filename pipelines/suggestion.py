"""From what values are like to rules that they keep: each rule with the reason for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from math import ceil, floor, log10
from typing import Any

from schemas.contract import quoted
from schemas.predicates import is_plain
from schemas.tables import RESERVED
from udfs.profile import GARBAGE, SHAPES, Profile

MARGIN = 0.1  # of the observed range, on each side
_FEW_VALUES = 20  # distinct texts that may be a set
_ROWS_A_VALUE = 10  # that a value must have had, on average, for the set to look complete
_ROWS_FOR_EXACT = 50  # before what was always the same is taken for a rule
_MOST_NULLS = 0.5  # share; a column that is mostly null promises nothing
_DAYS = 365
_IDENTIFIER = re.compile(r"(?:^|[_ -])(?:id|key|uuid|guid|index|no|nr|line)$|Id$|ID$")
_KEY_NAME = re.compile(r"[^ ,;{}()\n\t=]+")  # what a column of Delta may be called
_PUNCTUATION = re.compile(r"[\\.^$*+?()\[\]{}|]")
_SIGNATURES = {"89504e470d0a1a0a": "PNG", "ffd8ff": "JPEG"}
_INTEGERS = ("tinyint", "smallint", "int", "bigint")


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


def suggest_columns(
    types: Mapping[str, str], profiles: Mapping[str, Profile]
) -> list[SuggestedColumn]:
    """What the columns seem to promise."""
    names = _rule_names(list(types))
    return [
        _column(name, kind, profiles.get(name, Profile()), names[name])
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
            one.type in (*_INTEGERS, "string", "date", "timestamp")
            or one.type.startswith("decimal")
        )
    ]
    named = [one for one in able if _IDENTIFIER.search(one.name)]
    whole = [one for one in able if one.type in _INTEGERS]
    found = named or whole or able
    return found[0].name if found else None


def looks_like_identifier(name: str, profile: Profile) -> bool:
    """Whether a column that does not repeat is meant not to."""
    return bool(_IDENTIFIER.search(name)) or "uuid" in (profile.shapes or ())


def _column(name: str, kind: str, about: Profile, prefix: str) -> SuggestedColumn:
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


def _rules(name: str, kind: str, about: Profile) -> Iterator[tuple[str, str, str]]:
    """Name, predicate and reason of each rule of a column."""
    if not about.present:
        return
    column = name if is_plain(name) else quoted(name)
    if kind in _INTEGERS or kind in ("float", "double") or kind.startswith("decimal"):
        yield from _number_rules(name, column, kind, about)
    for prefix, make in _MAKERS.items():
        if kind.startswith(prefix):
            yield from make(column, about)


def _number_rules(
    name: str, column: str, kind: str, about: Profile
) -> Iterator[tuple[str, str, str]]:
    if about.least is None:
        return
    least, most = Decimal(str(about.least)), Decimal(str(about.most))
    low, high, why = _widened(least, most, about, whole=about.whole and kind in _INTEGERS)
    if kind in _INTEGERS and _IDENTIFIER.search(name) and not about.repeated:
        if least >= 0:
            yield (
                "range",
                f"{column} >= 0",
                f"{_n(least)} to {_n(most)} seen: identifiers grow, none is negative",
            )
        return
    low, high = _within(low, kind), _within(high, kind)
    finite = f"{column} BETWEEN {_number(low, kind)} AND {_number(high, kind)}"
    if about.not_finite:
        yield (
            "range",
            f"isnan({column}) OR {finite}",
            f"{why}; {about.not_finite:,} NaN or infinite",
        )
        return
    only = "; NaN and infinities are outside" if kind in ("float", "double") else ""
    yield "range", finite, why + only
    if kind in ("float", "double") and about.whole and about.present >= _ROWS_FOR_EXACT:
        yield (
            "whole",
            f"{column} = floor({column})",
            f"all {about.present:,} values are whole numbers",
        )


def _widened(
    least: Decimal, most: Decimal, about: Profile, *, whole: bool
) -> tuple[Decimal, Decimal, str]:
    """Bounds around those that were seen, and why these."""
    seen = f"{_n(least)} to {_n(most)} seen"
    values = about.values
    if (
        whole
        and values is not None
        and len(values) == most - least + 1
        and about.present >= (_ROWS_A_VALUE * len(values))
    ):
        return (
            least,
            most,
            f"every whole number from {_n(least)} to {_n(most)} occurs, and no other",
        )
    if least >= 0 and most <= 1 and not whole:
        return Decimal(0), Decimal(1), f"{seen}: a share"
    width = (most - least) or abs(most) or Decimal(1)
    margin = width * Decimal(str(MARGIN))
    low, high = least - margin, most + margin
    if whole:
        low, high = Decimal(floor(low)), Decimal(ceil(high))
    told = f"{seen}, and {MARGIN:.0%} of the range on each side"
    if least >= 0 > low:
        return Decimal(0), high, f"{told}, but none was negative"
    return low, high, told


def _within(bound: Decimal, kind: str) -> Decimal:
    """The bound inside of what the type can hold: a literal beyond would change the comparison's type."""
    bits = {"tinyint": 7, "smallint": 15, "int": 31, "bigint": 63}.get(kind)
    if bits is None:
        return bound
    return max(min(bound, Decimal(2**bits - 1)), Decimal(-(2**bits)))


def _number(bound: Decimal, kind: str) -> str:
    if kind in ("float", "double"):
        return f"{float(f'{float(bound):.6g}') if abs(bound) > 0 else 0.0!r}D"
    if kind in _INTEGERS:
        return f"{int(bound)}"
    return f"{bound.normalize():f}"


def _text_rules(column: str, about: Profile) -> Iterator[tuple[str, str, str]]:
    values = about.values
    if (
        values is not None
        and len(values) <= _FEW_VALUES
        and about.present >= _ROWS_A_VALUE * len(values)
    ):
        texts = ", ".join(sql_text(str(value)) for value in sorted(values))
        yield (
            "known",
            f"{column} IN ({texts})",
            f"these {len(values)} in {about.present:,} rows, no other",
        )
        return
    form, why = _form(about)
    if form:
        yield "form", f"{column} RLIKE {sql_text(form)}", why
    elif not about.blank:
        why = f"none of {about.present:,} texts is blank"
        yield "not_blank", f"length(trim({column})) > 0", why
    if form.startswith("^["):
        return  # it has the length, and every character
    yield from _length_rules(column, about)
    if not about.garbled:
        pattern = sql_text(GARBAGE.replace("\ufffd", "\\uFFFD"))
        why = "no control character was seen, and no mark of a lost letter"
        yield "readable", f"NOT {column} RLIKE {pattern}", why


def _form(about: Profile) -> tuple[str, str]:
    """The regular expression that all texts match, and why; both empty where there is none."""
    if about.blank or about.present < _ROWS_FOR_EXACT:
        return "", ""
    shape = next(iter(about.shapes or ()), None)
    skeletons = about.skeletons or ()
    if len(skeletons) == 1 and shape in (None, "digits", "hex"):
        return _pattern(skeletons[0]), f"all {about.present:,} texts are of this form"
    if shape is not None:
        return f"^(?:{SHAPES[shape]})$", f"all {about.present:,} texts are of the form of: {shape}"
    return "", ""


def _length_rules(column: str, about: Profile) -> Iterator[tuple[str, str, str]]:
    shortest, longest = about.shortest or 0, about.longest or 0
    if shortest == longest and about.present >= _ROWS_FOR_EXACT:
        yield "length", f"length({column}) = {longest}", f"all have {longest:,} characters"
        return
    most = _rounded_up(2 * max(longest, 1))
    why = f"{shortest:,} to {longest:,} characters seen; twice that, rounded up"
    yield "length", f"length({column}) <= {most}", why


def _pattern(skeleton: str) -> str:
    """The regular expression of a skeleton: AA-999 is two capitals, a dash, three digits."""
    pieces = []
    for match in re.finditer(r"(A+)|(a+)|(9+)|(.)", skeleton, re.DOTALL):
        run = match[0]
        letters = {"A": "[A-Z]", "a": "[a-z]", "9": "[0-9]"}.get(run[0] if not match[4] else "")
        times = "" if len(run) == 1 else f"{{{len(run)}}}"
        pieces.append(letters + times if letters else _PUNCTUATION.sub(r"\\\g<0>", run))
    return f"^{''.join(pieces)}$"


def _binary_rules(column: str, about: Profile) -> Iterator[tuple[str, str, str]]:
    shortest, longest = about.shortest or 0, about.longest or 0
    if shortest == longest and about.present >= _ROWS_FOR_EXACT:
        yield "length", f"octet_length({column}) = {longest}", f"all have {longest:,} bytes"
        if not about.blank and longest:
            zeros = f"unhex(repeat('00', {longest}))"
            yield (
                "not_blank",
                f"{column} <> {zeros}",
                f"none of {about.present:,} is nothing but zeros",
            )
    else:
        most = _rounded_up(2 * max(longest, 1))
        why = f"{shortest:,} to {longest:,} bytes seen; half the least, and twice the most, rounded up"
        yield "length", f"octet_length({column}) BETWEEN {shortest // 2} AND {most}", why
    for start, name in _SIGNATURES.items():
        if about.heads and all(head.startswith(start) for head in about.heads):
            holds = f"substring({column}, 1, {len(start) // 2}) = unhex('{start.upper()}')"
            yield "signature", holds, f"every value begins as {name} files do"


def _array_rules(column: str, about: Profile) -> Iterator[tuple[str, str, str]]:
    shortest, longest = about.shortest or 0, about.longest or 0
    if shortest == longest and about.present >= _ROWS_FOR_EXACT:
        yield "size", f"size({column}) = {longest}", f"all have {longest:,} elements"
    else:
        most = _rounded_up(2 * max(longest, 1))
        yield (
            "size",
            f"size({column}) <= {most}",
            f"{shortest:,} to {longest:,} elements seen; twice that",
        )
    if not about.inner_nulls:
        yield "whole_elements", f"forall({column}, one -> one IS NOT NULL)", "no element is null"


def _date_rules(column: str, about: Profile) -> Iterator[tuple[str, str, str]]:
    yield from _between(column, about, "DATE", date.fromisoformat)


def _time_rules(column: str, about: Profile) -> Iterator[tuple[str, str, str]]:
    zone = "+" in str(about.least)[10:]
    yield from _between(
        column, about, "TIMESTAMP" if zone else "TIMESTAMP_NTZ", datetime.fromisoformat
    )


def _between(
    column: str, about: Profile, kind: str, read: Callable[[str], Any]
) -> Iterator[tuple[str, str, str]]:
    if about.least is None:
        return
    least, most = read(about.least), read(about.most)
    margin = max(timedelta(days=_DAYS), MARGIN * (most - least))
    try:
        low, high = least - margin, most + margin
    except OverflowError:
        return
    holds = f"{column} BETWEEN {kind} '{low}' AND {kind} '{high}'"
    yield "range", holds, f"{least} to {most} seen, and {margin.days:,} days on each side"


_MAKERS: dict[str, Callable[[str, Profile], Iterator[tuple[str, str, str]]]] = {
    "string": _text_rules,
    "binary": _binary_rules,
    "array": _array_rules,
    "date": _date_rules,
    "timestamp": _time_rules,
}


def sql_text(value: str) -> str:
    r"""A text as Spark SQL writes it, of visible characters; nothing in it is filled in by Spark.

    `schemas.yaml_file` fills in ``${NAME}``, so a brace after a dollar is written as an escape, too.
    """
    pieces = []
    for at, char in enumerate(value):
        if char in "'\\":
            pieces.append("\\" + char)
        elif not char.isprintable() or (char == "{" and value[at - 1 : at] == "$"):
            pieces.append(f"\\U{ord(char):08x}" if ord(char) > 0xFFFF else f"\\u{ord(char):04x}")  # noqa: PLR2004
        else:
            pieces.append(char)
    return "'" + "".join(pieces) + "'"


def _rule_names(columns: Sequence[str]) -> dict[str, str]:
    """For each column the beginning of its rules' names, which take letters, digits and _."""
    found: dict[str, str] = {}
    for number, name in enumerate(columns, start=1):
        plain = re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_")
        plain = plain if plain and not plain[0].isdigit() else f"column_{number}"
        found[name] = plain if plain not in found.values() else f"{plain}_{number}"
    return found


def _rounded_up(number: int) -> int:
    """The next of 1, 2, 5, 10, 20, 50, ..."""
    power: int = 10 ** int(log10(number))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= number)


def _n(number: Decimal) -> str:
    return (
        f"{float(number):g}" if abs(number) >= 10**15 or number != int(number) else f"{int(number)}"
    )
