"""Suggested rules of texts, binaries and arrays: their sets, forms, lengths and signatures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import log10

from millrace.pipelines.validation.range_rules import ROWS_FOR_EXACT, ROWS_PER_VALUE
from millrace.udfs.readers.column_profile import ColumnProfile
from millrace.udfs.readers.profiling import GARBAGE, SHAPES

_FEW_VALUES = 20  # distinct texts that may be a set
_PUNCTUATION = re.compile(r"[\\.^$*+?()\[\]{}|]")
_SIGNATURES = {"89504e470d0a1a0a": "PNG", "ffd8ff": "JPEG"}


def text_rules(column: str, about: ColumnProfile) -> Iterator[tuple[str, str, str]]:
    """Yield name, predicate and reason of each rule of a column of texts."""
    values = about.values
    if (
        values is not None
        and len(values) <= _FEW_VALUES
        and about.present >= ROWS_PER_VALUE * len(values)
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


def _form(about: ColumnProfile) -> tuple[str, str]:
    """The regular expression that all texts match, and why; both empty where there is none."""
    if about.blank or about.present < ROWS_FOR_EXACT:
        return "", ""
    shape = next(iter(about.shapes or ()), None)
    skeletons = about.skeletons or ()
    if len(skeletons) == 1 and shape in (None, "digits", "hex"):
        return _pattern(skeletons[0]), f"all {about.present:,} texts are of this form"
    if shape is not None:
        return f"^(?:{SHAPES[shape]})$", f"all {about.present:,} texts are of the form of: {shape}"
    return "", ""


def _length_rules(column: str, about: ColumnProfile) -> Iterator[tuple[str, str, str]]:
    shortest, longest = about.shortest or 0, about.longest or 0
    if shortest == longest and about.present >= ROWS_FOR_EXACT:
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


def binary_rules(column: str, about: ColumnProfile) -> Iterator[tuple[str, str, str]]:
    """Yield name, predicate and reason of each rule of a binary column."""
    shortest, longest = about.shortest or 0, about.longest or 0
    if shortest == longest and about.present >= ROWS_FOR_EXACT:
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


def array_rules(column: str, about: ColumnProfile) -> Iterator[tuple[str, str, str]]:
    """Yield name, predicate and reason of each rule of a column of arrays."""
    shortest, longest = about.shortest or 0, about.longest or 0
    if shortest == longest and about.present >= ROWS_FOR_EXACT:
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


def sql_text(value: str) -> str:
    r"""A text as Spark SQL writes it, of visible characters; nothing in it is filled in by Spark.

    `millrace.schemas.yaml_file` fills in ``${NAME}``, so a brace after a dollar is written as an escape, too.
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


def _rounded_up(number: int) -> int:
    """The next of 1, 2, 5, 10, 20, 50, ..."""
    power: int = 10 ** int(log10(number))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= number)
