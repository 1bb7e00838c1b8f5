"""128 bits that stand for what a model reads of a row: equal inputs have the same, others never do."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from millrace.schemas.errors import UsageError
from millrace.schemas.rule import quoted

_BITS = 128
# Types whose text says everything of a value, and in an array nothing of two: no comma is in a number.
_TEXTS = ("tinyint", "smallint", "int", "bigint", "float", "double", "boolean")
_BYTES = ("string", "binary")
_TIMES = ("date", "timestamp")
_ALLOWED = (*_TEXTS, *_BYTES, *_TIMES, *(f"array<{kind}>" for kind in _TEXTS))


def input_hash(rows: DataFrame, inputs: Sequence[str]) -> Column:
    """The first `_BITS` of sha256 over the columns ``inputs``: their names, types and values; binary.

    Each value is led by its length, and null has a mark of its own, so that no two lists of values run
    together to the same bytes. Not xxhash64: whoever writes the input could make two texts collide, and
    it takes 0.0 for -0.0 and passes over nulls. Raises UsageError for a type that has no such bytes.
    """
    kinds = dict(rows.select(*map(quoted, inputs)).dtypes)
    if other := [f"{name} {kind}" for name, kind in kinds.items() if kind not in _ALLOWED]:
        raise UsageError(
            "a hash cannot identify identical inputs",
            got=", ".join(other),
            allowed=", ".join(_ALLOWED),
            next="set engine.dedupe: off and engine.cache: off",
        )
    about = F.lit(json.dumps(kinds)).cast("binary")
    framed = F.concat(about, *[_framed(F.col(quoted(name)), kinds[name]) for name in inputs])
    return F.unhex(F.substring(F.sha2(framed, 256), 1, _BITS // 4))


def _framed(value: Column, kind: str) -> Column:
    """A value's bytes after their number and a colon; of null a dash."""
    if kind == "timestamp":  # its text is of the session's time zone, where an hour may come twice
        value = F.unix_micros(value)
    # -0.0, NaN and every other number have texts of their own, from which Java reads back the same.
    content = value if kind == "binary" else value.cast("string").cast("binary")
    length = F.concat(F.octet_length(content).cast("string"), F.lit(":")).cast("binary")
    return F.coalesce(F.concat(length, content), F.lit("-").cast("binary"))
