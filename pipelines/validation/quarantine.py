"""What quarantine says of a refused row: its payload, and the values that broke a rule.

Of a column that the contract redacts there is a hash: equal values are seen to be equal, and a value
that can be guessed can be checked, but none can be read.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.types import BinaryType, DataType, StringType, StructField, StructType

from pipelines.row_key import AS_JSON
from schemas.contract import MALFORMED, Rule, quoted

MOST_CHARACTERS = 200
LARGEST_BYTES = 4_000_000  # of a cell that a payload has in full
_HASH_DIGITS = 16
_WHERE = r"^.*? line [0-9]+"  # what a parser's message begins with


def payload(schema: StructType, names: Sequence[str], redact: Collection[str]) -> Column:
    """The row's columns of these names as JSON: binary in base64, redacted ones as hashes.

    So are cells of more than `LARGEST_BYTES`: as a text, one of 100 MB is more than a JVM of 2 GB can hold.
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

    Those quote the record: where anything is redacted, only its place is told.
    """
    if MALFORMED not in rule.columns:
        return F.lit(rule.predicate)
    if redact:
        return F.concat(F.regexp_extract(MALFORMED, _WHERE, 0), F.lit(" cannot be parsed"))
    return F.col(MALFORMED)


def _whole(field: StructField) -> Column:
    cell = F.col(quoted(field.name))
    if isinstance(field.dataType, BinaryType):
        text = F.base64(cell)
    elif isinstance(field.dataType, StringType):
        text = cell
    else:
        return cell
    return F.when(F.octet_length(cell) > LARGEST_BYTES, _size_and_hash(cell)).otherwise(text)


def _size_and_hash(cell: Column) -> Column:
    size = F.octet_length(cell).cast("string")
    return F.concat(size, F.lit(" bytes, sha256 "), _digest(cell.cast("binary")))


def _digest(content: Column) -> Column:
    return F.substring(F.sha2(content, 256), 1, _HASH_DIGITS)


def _shown(field: StructField, redact: Collection[str]) -> Column:
    cell = F.col(quoted(field.name))
    if field.name in redact:
        return _hash(field.dataType, field.name)
    if isinstance(field.dataType, BinaryType):
        return F.when(cell.isNotNull(), _size_and_hash(cell))
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
