"""Payloads of quarantined rows, and the values that broke a rule.

Of a column that the contract redacts there is a hash: equal values are seen to be equal, and a value
that can be guessed can be checked, but none can be read.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import reduce
from operator import and_

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.types import BinaryType, DataType, StringType, StructField, StructType

from millrace.pipelines.sources.row_key import AS_JSON
from millrace.schemas.rule import MALFORMED, Rule, quoted
from millrace.schemas.signatures import SIGNATURES
from millrace.schemas.tables import PAYLOAD_CELL_BYTES

MOST_CHARACTERS = 200
_HASH_DIGITS = 16
EMPTY, TEXT, BINARY = "empty", "text", "binary"  # contents that have no signature
_NO_TEXT = r"[\x00-\x08\x0b\x0e-\x1f\x7f]"  # control characters that texts do not have
_LOOKED_AT = 4096  # bytes of a value, for those
_WHERE = r"^.*? line [0-9]+"  # what a parser's message begins with


def payload(schema: StructType, names: Sequence[str], redact: Collection[str]) -> Column:
    """The row's columns of these names as JSON: binary in base64, redacted ones as hashes.

    So are cells of more than `PAYLOAD_CELL_BYTES`: as a text, one of 100 MB does not fit a JVM of 2 GB.
    """
    cells = [
        _hash(schema[name].dataType, name) if name in redact else _whole(schema[name])
        for name in names
    ]
    named = [cell.alias(name) for cell, name in zip(cells, names, strict=True)]
    return F.to_json(F.struct(*named), AS_JSON)


def observed(rule: Rule, schema: StructType, redact: Collection[str]) -> Column:
    """The values of the rule's columns as JSON, at most 200 characters of it; NULL of what did not parse."""
    if MALFORMED in rule.columns:
        return F.lit(None).cast("string")
    cells = [_shown(schema[name], redact).alias(name) for name in rule.columns]
    return F.substring(F.to_json(F.struct(*cells), AS_JSON), 1, MOST_CHARACTERS)


def message(rule: Rule, redact: Collection[str]) -> Column:
    """What good rows satisfy; of a record that did not parse, the parser's words.

    Those quote the record: where anything is redacted, only its position is stated.
    """
    if MALFORMED not in rule.columns:
        return F.lit(rule.predicate)
    if redact:
        where = F.regexp_extract(MALFORMED, _WHERE, 0)  # a whole file has no line
        named = F.when(where == "", F.lit("the record")).otherwise(where)
        return F.concat(named, F.lit(" cannot be parsed"))
    return F.col(MALFORMED)


def _whole(field: StructField) -> Column:
    cell = F.col(quoted(field.name))
    if isinstance(field.dataType, BinaryType):
        text = F.base64(cell)
    elif isinstance(field.dataType, StringType):
        text = cell
    else:
        return cell
    size_and_hash = _size_and_hash(cell, field.dataType)
    return F.when(F.octet_length(cell) > PAYLOAD_CELL_BYTES, size_and_hash).otherwise(text)


def _size_and_hash(cell: Column, kind: DataType) -> Column:
    """``12 bytes, sha256 0123456789abcdef``; and of a binary value, which kind of content it has."""
    size = F.octet_length(cell).cast("string")
    parts = [size, F.lit(" bytes, sha256 "), _digest(cell.cast("binary"))]
    parts += [F.lit(", "), _content(cell)] if isinstance(kind, BinaryType) else []
    return F.concat(*parts)


def _content(cell: Column) -> Column:
    """The kind of a binary value's content: by its signature, else empty, text (UTF-8) or binary."""
    found = F.when(F.octet_length(cell) == 0, EMPTY)
    for kind, parts in SIGNATURES:
        there = (F.substring(cell, at + 1, len(part)) == F.lit(part) for at, part in parts)
        found = found.when(reduce(and_, there), kind)
    # A Java string of a whole large value would take twice its memory.
    begins = F.substring(cell, 1, _LOOKED_AT).cast("string")
    is_text = F.is_valid_utf8(cell.cast("string")) & ~begins.rlike(_NO_TEXT)
    return found.when(is_text, TEXT).otherwise(BINARY)


def _digest(content: Column) -> Column:
    return F.substring(F.sha2(content, 256), 1, _HASH_DIGITS)


def _shown(field: StructField, redact: Collection[str]) -> Column:
    cell = F.col(quoted(field.name))
    if field.name in redact:
        return _hash(field.dataType, field.name)
    if isinstance(field.dataType, BinaryType):
        return F.when(cell.isNotNull(), _size_and_hash(cell, field.dataType))
    if isinstance(field.dataType, StringType):
        return F.substring(cell, 1, MOST_CHARACTERS)
    return cell


def _hash(kind: DataType, name: str) -> Column:
    cell = F.col(quoted(name))
    if isinstance(kind, BinaryType | StringType):
        content = cell.cast("binary")
    else:
        content = F.to_json(F.struct(cell.alias("value")), AS_JSON).cast("binary")
    return F.when(cell.isNotNull(), F.concat(F.lit("sha256 "), _digest(content)))
