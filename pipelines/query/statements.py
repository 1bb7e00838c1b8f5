"""``SHOW TABLES`` and ``DESCRIBE name``: the tables and columns of a lake, from metadata alone."""

from __future__ import annotations

import json
import re

import pyarrow as pa
from deltalake import Schema

from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.query.engine import query
from millrace.pipelines.query.views import tables, views

_SHOW = re.compile(r"\s*SHOW\s+TABLES\s*;?\s*", re.IGNORECASE)
_DESCRIBE = re.compile(r"\s*DESC(?:RIBE)?\s+(?:TABLE\s+)?(\"[^\"]+\"|\w+)\s*;?\s*", re.IGNORECASE)
_COLUMNS = ("col_name", "data_type", "comment")  # as Spark says it
_SCHEMA = pa.schema([(name, pa.string()) for name in _COLUMNS])


def listed(lake: LakeLocation, sql: str) -> pa.Table | None:
    """The rows of a statement that asks for names; None for any other. Raises QueryError."""
    if _SHOW.fullmatch(sql):
        return _tables(lake)
    named = _DESCRIBE.fullmatch(sql)
    return None if named is None else _columns(lake, named[1])


def _tables(lake: LakeLocation) -> pa.Table:
    existing = tables(lake)
    every = [*((name, "table") for name in existing), *((name, "view") for name in views(existing))]
    return pa.table({"name": [name for name, _ in every], "kind": [kind for _, kind in every]})


def _columns(lake: LakeLocation, name: str) -> pa.Table:
    schema = Schema.from_arrow(query(lake, f"SELECT * FROM {name}", limit=0).schema)  # noqa: S608 - checked there
    columns = [
        (one["name"], _type(one["type"]), one["metadata"].get("comment", ""))
        for one in json.loads(schema.to_json())["fields"]
    ]
    return pa.Table.from_pylist([dict(zip(_COLUMNS, row, strict=True)) for row in columns], _SCHEMA)


def _type(kind: object) -> str:
    """A Delta type in SQL's words."""
    if not isinstance(kind, dict):
        return {"long": "bigint", "integer": "int", "short": "smallint", "byte": "tinyint"}.get(
            str(kind), str(kind)
        )
    if kind["type"] == "array":
        return f"array<{_type(kind['elementType'])}>"
    if kind["type"] == "map":
        return f"map<{_type(kind['keyType'])},{_type(kind['valueType'])}>"
    fields = (f"{one['name']}:{_type(one['type'])}" for one in kind["fields"])
    return f"struct<{','.join(fields)}>"
