"""The columns of JSON Lines, judged by the first objects."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import reduce
from operator import getitem
from typing import Any

import pyarrow as pa

from millrace.pipelines.sources.input_column import ANY, InputColumn, InputColumns
from millrace.schemas.column_path import Origin
from millrace.schemas.contract import Contract
from millrace.schemas.types import sql_type


def json_columns(objects: list[dict[str, Any]], contract: Contract) -> InputColumns | None:
    """What the first objects say: a column is there when one has it, or when it may be absent."""
    if not objects:
        return None
    names = list(dict.fromkeys(name for one in objects for name in one))
    declared = {o.name: n for n, o in reversed(contract.origins.items())}
    found = []
    for name in names:
        values = [one[name] for one in objects if one.get(name) is not None]
        kind = _json_type(declared.get(name), values, contract)
        found.append(InputColumn(name, kind, fields=_fields(values)))
    for name, spec in contract.columns.items():
        origin = contract.origins[name]
        if origin.name in names:
            continue
        inside = [at for at in map(_path_of(origin), objects) if at is not _ABSENT]
        if inside:
            values = [value for value in inside if value is not None]
            found.append(InputColumn(origin.name, _json_type(name, values, contract)))
        elif spec.nullable and origin.name.lower() not in {one.lower() for one in names}:
            found.append(InputColumn(origin.name, ANY, "absent"))  # in another case it is a rename
    return found


def _fields(values: list[Any]) -> tuple[InputColumn, ...]:
    """The fields of the objects among values, whatever their types."""
    objects = [value for value in values if type(value) is dict]
    names = dict.fromkeys(name for one in objects for name in one)
    return tuple(
        InputColumn(name, ANY, fields=_fields([one.get(name) for one in objects])) for name in names
    )


_ABSENT = object()


def _path_of(origin: Origin) -> Callable[[dict[str, Any]], Any]:
    """A function from an object to its value at a path; `_ABSENT` where it has none."""

    def find(value: dict[str, Any]) -> Any:
        path = origin.resolve(value)
        return reduce(getitem, path, value) if path else _ABSENT

    return find


def _json_type(name: str | None, values: list[Any], contract: Contract) -> str:
    if not values:
        return ANY
    if name is not None:
        kind = contract.arrow_schema.field(name).type
        if any(type(value) in _json_kinds(kind) for value in values):
            return sql_type(kind)
    return _JSON_NAMES[type(values[0])]


_JSON_NAMES: dict[type, str] = {
    bool: "boolean",
    int: "bigint",
    float: "double",
    str: "string",
    list: "array",
    dict: "struct",
}
_JSON_KINDS: list[tuple[Callable[[pa.DataType], bool], set[type]]] = [
    (pa.types.is_boolean, {bool}),
    (pa.types.is_integer, {int}),
    (pa.types.is_floating, {int, float, Decimal}),
    (pa.types.is_decimal, {int, float, Decimal}),
    (pa.types.is_list, {list}),
    (pa.types.is_struct, {dict}),
]


def _json_kinds(kind: pa.DataType) -> set[type]:
    """The Python types of the JSON values that may stand for the type."""
    return next((kinds for matches, kinds in _JSON_KINDS if matches(kind)), {str})
