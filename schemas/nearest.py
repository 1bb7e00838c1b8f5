"""Finds the allowed value that a user most likely meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# What other systems call it; a spelling alone would lead from gpu to cpu.
_SYNONYMS = {
    "gpu": "cuda",
    "warning": "warn",
    "critical": "error",
    "integer": "int",
    "int32": "int",
    "int64": "bigint",
    "long": "bigint",
    "short": "smallint",
    "byte": "tinyint",
    "float32": "float",
    "float64": "double",
    "number": "double",
    "real": "float",
    "bool": "boolean",
    "str": "string",
    "text": "string",
    "varchar": "string",
    "object": "string",
    "bytes": "binary",
    "blob": "binary",
    "datetime": "timestamp",
    "list": "array<type>",
    "jsonl": "json",
    "ndjson": "json",
    "tsv": "csv",
    "image": "images",
    "onnx": "onnxruntime",
    "pytorch": "torch",
}


def nearest(value: str, allowed: Iterable[str]) -> str | None:
    """Return the nearest allowed value, by meaning or by spelling; None if none is near."""
    known = {name.lower(): name for name in allowed}
    if (meant := _SYNONYMS.get(value.strip().lower())) in known:
        return known[meant]
    close = difflib.get_close_matches(value.strip().lower(), list(known), n=1)
    return known[close[0]] if close else None


def hint(value: str, allowed: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` with the nearest allowed value, or an empty text."""
    meant = nearest(value, allowed)
    return f"; did you mean {meant!r}?" if meant else ""
