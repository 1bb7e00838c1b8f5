"""Profiles of columns, from Arrow batches in a worker; the result is small, whatever the number of rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from millrace.udfs.readers.column_profile import (
    LONGEST_VALUE,
    MOST_SKELETONS,
    MOST_VALUES,
    ColumnProfile,
    merged,
)

_HEAD_BYTES = 8

# Patterns that mean the same to Arrow's engine, which counts here, and to Java's, which checks later.
SHAPES: dict[str, str] = {
    "digits": "[0-9]+",
    "uuid": "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}",
    "ISO date": "[0-9]{4}-[0-9]{2}-[0-9]{2}",
    "ISO timestamp": "[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2})?[0-9.]*(Z|[+-][0-9:]+)?",
    "email": "[^@ ]+@[^@ ]+[.][^@ .]+",
    "URL": "https?://[^ ]+",
    "phone": "[+]?[0-9][0-9 ()./-]{4,18}[0-9]",
    "hex": "[0-9a-f]+|[0-9A-F]+",
}
# What no text means to hold: control characters but tab and line breaks, and the mark of a lost letter.
GARBAGE = "[\\x00-\\x08\\x0B\\x0C\\x0E-\\x1F\\x7F\ufffd]"


def profiled(batches: Iterable[pa.RecordBatch]) -> dict[str, ColumnProfile]:
    """Return a profile per column, of all rows of the batches."""
    found: dict[str, ColumnProfile] = {}
    for batch in batches:
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            part = profile_of(column)
            found[name] = merged(found[name], part) if name in found else part
    return found


def rows_of(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Return `profiled` as one batch of columns ``name`` and ``profile``, for the driver to collect."""
    found = profiled(batches)
    texts = [profile.as_json() for profile in found.values()]
    yield pa.RecordBatch.from_pydict(
        {"name": pa.array(list(found), pa.string()), "profile": pa.array(texts, pa.string())}
    )


def profile_of(column: pa.Array) -> ColumnProfile:
    """Return the profile of one array."""
    kind, here = column.type, column.drop_null()
    about: dict[str, Any] = {"rows": len(column), "nulls": column.null_count}
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        about |= _texts(here)
    elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        about |= _binaries(here)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        about |= _lists(here)
    elif pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        about |= _numbers(here)
    elif pa.types.is_temporal(kind):
        about |= _times(here)
    return ColumnProfile(**about)


def _numbers(here: pa.Array) -> dict[str, Any]:
    is_float = pa.types.is_floating(here.type)
    finite = here.filter(pc.is_finite(here)) if is_float else here
    whole = pa.types.is_integer(here.type) or pc.all(pc.equal(finite, pc.floor(finite))).as_py()
    bounds = pc.min_max(finite)
    return {
        "not_finite": len(here) - len(finite),
        "whole": whole is not False,
        "least": _plain(bounds["min"]),
        "most": _plain(bounds["max"]),
        **_distinct(here),
    }


def _times(here: pa.Array) -> dict[str, Any]:
    bounds = pc.min_max(here)
    return {"least": _plain(bounds["min"]), "most": _plain(bounds["max"]), **_distinct(here)}


def _texts(here: pa.Array) -> dict[str, Any]:
    texts = here.cast(pa.string())
    lengths = pc.min_max(pc.utf8_length(texts))
    shapes = [n for n, shape in SHAPES.items() if _all_match(texts, shape)] if len(texts) else None
    skeleton = texts
    for letters, sign in (("[A-Z]", "A"), ("[a-z]", "a"), ("[0-9]", "9")):
        skeleton = pc.replace_substring_regex(skeleton, letters, sign)
    return {
        "shortest": lengths["min"].as_py(),
        "longest": lengths["max"].as_py(),
        "blank": _count(pc.equal(pc.utf8_trim(texts, " "), "")),
        "garbled": _count(pc.match_substring_regex(texts, GARBAGE)),
        "shapes": None if shapes is None else tuple(shapes),
        "skeletons": _few(skeleton, MOST_SKELETONS),
        **_distinct(texts),
    }


def _binaries(here: pa.Array) -> dict[str, Any]:
    lengths = pc.min_max(pc.binary_length(here))
    heads = [bytes(value.as_buffer()[:_HEAD_BYTES]).hex() for value in here]
    zeros = sum(not any(value.as_buffer().to_pybytes()) for value in here)
    return {
        "shortest": lengths["min"].as_py(),
        "longest": lengths["max"].as_py(),
        "blank": zeros,
        "heads": _few(pa.array(heads, pa.string()), MOST_SKELETONS),
        "values": None,
        "repeated": pc.count_distinct(here).as_py() < len(here),
    }


def _lists(here: pa.Array) -> dict[str, Any]:
    lengths, inner = pc.min_max(pc.list_value_length(here)), here.flatten()
    numbers = pa.types.is_floating(inner.type)
    return {
        "shortest": lengths["min"].as_py(),
        "longest": lengths["max"].as_py(),
        "inner_nulls": inner.null_count,
        "inner_not_finite": _count(pc.invert(pc.is_finite(inner))) if numbers else 0,
        "values": None,
        "repeated": True,
    }


def _distinct(here: pa.Array) -> dict[str, Any]:
    unique = pc.unique(here)
    return {"repeated": len(unique) < len(here), "values": _few(unique, MOST_VALUES)}


def _few(array: pa.Array, most: int) -> tuple[Any, ...] | None:
    unique = pc.unique(array)
    if len(unique) > most:
        return None
    values = tuple(_plain(value) for value in unique)
    return None if any(isinstance(v, str) and len(v) > LONGEST_VALUE for v in values) else values


def _plain(value: Any) -> Any:
    """As JSON has it: numbers and texts."""
    found = value.as_py() if isinstance(value, pa.Scalar) else value
    return found if found is None or isinstance(found, int | float | str) else str(found)


def _all_match(texts: pa.Array, shape: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(texts, f"^(?:{shape})$")).as_py())


def _count(mask: pa.Array) -> int:
    return int(pc.sum(mask).as_py() or 0)
