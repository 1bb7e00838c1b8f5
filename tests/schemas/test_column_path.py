"""The input's own name of a column: a name, or a path into structs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from millrace.schemas.column_path import Origin, paths
from millrace.schemas.column_spec import ColumnSpec
from millrace.schemas.config import Job
from millrace.schemas.contract import Contract
from millrace.schemas.ids import digest

COLUMNS = {"a": {"b": {"c": None}, "b.c": None}, "a.b": {"c": None, "d": None}, "x y": None}


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("x y", ("x y",)),
        ("a.b", ("a.b",)),  # the column, not the field of a
        ("a.b.c", ("a.b", "c")),  # the longest struct name first
        ("a.b.d", ("a.b", "d")),
        ("a", ("a",)),
        ("a.", None),
        (".a", None),
        ("a..b", None),
        ("x y.z", None),
    ],
)
def test_a_name_as_a_whole_comes_before_a_path(name: str, path: tuple[str, ...] | None) -> None:
    assert Origin(name, is_path=True).resolve(COLUMNS) == path


def test_a_column_without_from_is_no_path() -> None:
    assert Origin("x.y").resolve({"x": {"y": None}}) is None


TREES = st.recursive(
    st.none(),
    lambda inner: st.dictionaries(st.text("ab.", min_size=1, max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text("ab.", min_size=1, max_size=3), TREES, max_size=3))
def test_what_resolves_is_there_and_spells_the_name(tree: dict[str, Any]) -> None:
    for name in paths(tree):
        found = Origin(name, is_path=True).resolve(tree)
        if any(not part for part in name.split(".")):
            continue  # such a dot stands inside of a name: only the name as a whole is sure to be found
        assert found is not None
        assert ".".join(found) == name
        at: Any = tree
        for part in found:
            at = at[part]


def of(columns: dict[str, Any], **source: Any) -> Job:
    return Job.model_validate({
        "name": "n", "source": {"format": "csv", "path": "in.csv", **source}, "key": ["id"],
        "contract": {"columns": columns}, "model": {"uri": "m"},
    })  # fmt: skip


@pytest.mark.parametrize(
    ("columns", "source", "message"),
    [
        ({"id": {"type": "bigint", "from": "Line"}}, {"line": "id"}, "source.line numbers"),
        ({"id": {"type": "bigint", "from": "ID"}}, {"header": False}, "source.header false"),
        (
            {"id": {"type": "bigint"}, "n": {"type": "int", "from": "id"}},
            {},
            "read 'id' as different types",
        ),
        ({"id": {"type": "bigint", "from": ""}}, {}, "at least 1 character"),
        ({"id": {"type": "bigint", "origin": "x"}}, {}, "Extra inputs"),
        ({"my id": {"type": "bigint"}, "id": {"type": "int"}}, {"x": 1}, "Extra inputs"),
    ],
)
def test_a_from_that_could_not_be_obeyed_is_refused(
    columns: dict[str, Any], source: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        of(columns, **source)


def test_a_key_with_a_blank_is_refused_with_the_way_to_name_it() -> None:
    with pytest.raises(ValidationError, match="under another name, with from: 'my id'"):
        Job.model_validate({
            "name": "n", "source": {"format": "csv", "path": "in.csv"}, "key": ["my id"],
            "contract": {"columns": {"my id": {"type": "bigint"}}}, "model": {"uri": "m"},
        })  # fmt: skip


def test_a_contract_without_from_keeps_its_fingerprint_and_one_with_it_comes_back() -> None:
    plain = Contract.model_validate({"columns": {"id": {"type": "bigint"}}})
    # As it was before the key existed: finished runs stay finished.
    assert digest(plain.model_dump(mode="json")) == (
        "bfa240f5e9b08cc9b2d6153f08436364e6c6033d294417eb445a920cca12a07a"
    )
    fields = {"columns": {"id": {"type": "bigint", "from": "Order ID"}}}
    contract = Contract.model_validate(fields)
    assert contract.columns["id"].origin == "Order ID"
    for how in ({}, {"exclude_unset": True}, {"mode": "json"}, {"by_alias": True}):
        dumped = contract.model_dump(**how)  # type: ignore[arg-type]
        assert dumped["columns"]["id"]["from"] == "Order ID"
        assert Contract.model_validate(dumped) == contract
    assert ColumnSpec(type="int").model_dump(exclude_unset=True) == {"type": "int"}
