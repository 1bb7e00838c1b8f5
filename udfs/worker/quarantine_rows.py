"""Quarantined rows as the embedded engine's workers write them: to the byte what Spark's SQL writes.

Sail's own `to_json` leaves nulls out and spells doubles in another way, and its `substring` of a binary
value fails. pipelines/validation/quarantine.py has the same in Spark's columns; a test compares both.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

from millrace.schemas.signatures import SIGNATURES

if TYPE_CHECKING:
    import pyarrow as pa

_HASH_DIGITS = 16
_LINE = 76  # characters of base64
_LOOKED_AT = 4096  # bytes of a value, for what texts do not have
_NO_TEXT = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")
_ESCAPED = re.compile(r'[\x00-\x1f"\\]')
_SHORT = {"\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"}
# What a parser's message begins with. In Java, a dot is none of these.
_WHERE = re.compile("^[^\n\r\x85\u2028\u2029]*? line [0-9]+")
_PLAIN_FROM, _PLAIN_TO = 1e-3, 1e7  # doubles that Java writes without an exponent


@dataclass(frozen=True)
class RefusalReason:
    """A rule, as a row that breaks it names it."""

    rule: str
    severity: str
    columns: tuple[str, ...]
    message: str | None  # None: the parser's, of a record that did not parse
    fingerprint: str


@dataclass(frozen=True)
class QuarantinePlan:
    """What the rows are written with."""

    run_id: str
    job: str
    key: tuple[str, ...]
    # Of the row, in the order in which they come; after them the parser's message and a flag a reason.
    columns: tuple[str, ...]
    redacted: frozenset[str]
    reasons: tuple[RefusalReason, ...]
    at: datetime
    most_characters: int  # of the values that broke a rule
    cell_bytes: int  # of a cell that is written in full


def quarantiner(
    plan: QuarantinePlan, schema: pa.Schema
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return the function for `mapInArrow` from refused rows and flags to rows of the quarantine table."""
    return partial(_quarantine, plan, schema)


def _quarantine(
    plan: QuarantinePlan, schema: pa.Schema, batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    count = len(plan.columns)
    for batch in batches:
        cells = [column.to_pylist() for column in batch.columns]
        made = [
            _row(plan, dict(zip(plan.columns, values, strict=False)), *values[count:])
            for values in zip(*cells, strict=True)
        ]
        yield pa.RecordBatch.from_pylist(made, schema)


def _row(
    plan: QuarantinePlan, row: Mapping[str, Any], malformed: str | None, *broken: bool | None
) -> dict[str, Any]:
    whole = {
        name: hashed(value) if name in plan.redacted else _whole(value, plan.cell_bytes)
        for name, value in row.items()
    }
    return {
        "run_id": plan.run_id,
        "job": plan.job,
        "key": as_json({name: row[name] for name in plan.key}),
        "payload": as_json(whole),
        "reasons": [
            _reason(plan, reason, row, malformed)
            for reason, is_broken in zip(plan.reasons, broken, strict=True)
            if is_broken
        ],
        "stage": "validate",
        "quarantined_at": plan.at,
    }


def _reason(
    plan: QuarantinePlan, reason: RefusalReason, row: Mapping[str, Any], malformed: str | None
) -> dict[str, Any]:
    if reason.message is None:
        message, observed = _parsers_words(malformed or "", is_redacted=bool(plan.redacted)), None
    else:
        message, observed = reason.message, as_json(_values(plan, reason, row))
    return {
        "rule": reason.rule,
        "severity": reason.severity,
        "columns": list(reason.columns),
        "message": message,
        "observed": observed and observed[: plan.most_characters],
        "fingerprint": reason.fingerprint,
    }


def _parsers_words(malformed: str, *, is_redacted: bool) -> str:
    """The message; where anything is redacted, only the record's position, since it quotes the record."""
    if not is_redacted:
        return malformed
    where = _WHERE.match(malformed)
    return f"{where[0] if where else 'the record'} cannot be parsed"


def _values(plan: QuarantinePlan, reason: RefusalReason, row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: hashed(row[name])
        if name in plan.redacted
        else _shown(row[name], plan.most_characters)
        for name in reason.columns
    }


def as_json(values: Mapping[str, Any]) -> str:
    """Return an object as Spark writes it: nulls too, binary in base64, no blanks."""
    return "{" + ",".join(f"{_text(name)}:{_value(value)}" for name, value in values.items()) + "}"


def _value(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return java_double(value)
    if isinstance(value, bytes):
        return _text(base64.b64encode(value).decode("ascii"))
    return _text(value)


def _text(value: str) -> str:
    return (
        '"'
        + _ESCAPED.sub(lambda found: _SHORT.get(found[0]) or f"\\u{ord(found[0]):04X}", value)
        + '"'
    )


def java_double(value: float) -> str:
    """Return a double as Java writes it in JSON, with the fewest digits that name it."""
    if math.isnan(value):
        return '"NaN"'
    if math.isinf(value):
        return '"Infinity"' if value > 0 else '"-Infinity"'
    if value == 0 or _PLAIN_FROM <= abs(value) < _PLAIN_TO:
        return repr(value)
    named = Decimal(repr(value))
    digits = "".join(map(str, named.as_tuple().digits)).rstrip("0")
    return f"{'-' * (value < 0)}{digits[0]}.{digits[1:] or '0'}E{named.adjusted()}"


def hashed(value: Any) -> str | None:
    """Return what stands for a value that is not to be read."""
    if value is None:
        return None
    is_content = isinstance(value, str | bytes)
    content = _content(value) if is_content else as_json({"value": value}).encode()
    return f"sha256 {_digest(content)}"


def _content(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_HASH_DIGITS]


def _whole(value: Any, cell_bytes: int) -> Any:
    if isinstance(value, str | bytes) and len(_content(value)) > cell_bytes:
        return _size_and_hash(value)
    return _lines(value) if isinstance(value, bytes) else value


def _lines(value: bytes) -> str:
    """Base64 in lines, as Spark's function of that name gives it."""
    text = base64.b64encode(value).decode("ascii")
    return "\r\n".join(text[at : at + _LINE] for at in range(0, len(text), _LINE))


def _shown(value: Any, most_characters: int) -> Any:
    if isinstance(value, bytes):
        return _size_and_hash(value)
    return value[:most_characters] if isinstance(value, str) else value


def _size_and_hash(value: str | bytes) -> str:
    content = _content(value)
    kind = f", {_kind(content)}" if isinstance(value, bytes) else ""
    return f"{len(content)} bytes, sha256 {_digest(content)}{kind}"


def _kind(content: bytes) -> str:
    if not content:
        return "empty"
    for kind, parts in SIGNATURES:
        if all(content[at : at + len(part)] == part for at, part in parts):
            return kind
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return "binary"
    begins = content[:_LOOKED_AT].decode("utf-8", "replace")
    return "binary" if _NO_TEXT.search(begins) else "text"
