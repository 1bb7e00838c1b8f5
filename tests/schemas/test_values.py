"""The small values that everything agrees on: types, tables, prices, errors, ids."""

from __future__ import annotations

import pickle
import string
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.schemas import errors, ids, tables
from millrace.schemas.contract import Contract
from millrace.schemas.model import Signature
from millrace.schemas.prices import Instance
from millrace.schemas.types import SCALARS, arrow_type, sql_type

decimals = st.integers(1, 38).flatmap(
    lambda p: st.integers(0, p).map(lambda s: f"decimal({p},{s})")
)
fields = st.text(string.ascii_lowercase, min_size=1, max_size=5)
types = st.recursive(
    st.one_of(st.sampled_from(list(SCALARS)), decimals),
    lambda inner: st.one_of(
        inner.map(lambda t: f"array<{t}>"),
        st.dictionaries(fields, inner, min_size=1, max_size=3).map(
            lambda d: "struct<" + ",".join(f"{k}:{v}" for k, v in d.items()) + ">"
        ),
    ),
    max_leaves=5,
)


@given(types)
def test_a_type_survives_the_way_to_arrow_and_back(name: str) -> None:
    assert sql_type(arrow_type(name)) == name


@pytest.mark.parametrize(
    "name", ["", "text", "array<>", "decimal(39,1)", "decimal(2,3)", "struct<a>", "array<int"]
)
def test_what_is_no_type_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="."):
        arrow_type(name)


def test_large_variants_have_the_name_of_the_plain_type() -> None:
    assert sql_type(pa.large_string()) == "string"
    assert sql_type(pa.large_list(pa.large_binary())) == "array<binary>"


def test_every_column_says_what_it_is() -> None:
    predictions = tables.predictions(
        "p", ("k",), ("v",),
        Contract.model_validate({"columns": {"k": {"type": "int"}, "v": {"type": "string"}}}),
        Signature.model_validate({"inputs": {"k": {"type": "int"}}, "outputs": {"y": {"type": "float"}}}),
    )  # fmt: skip
    shared = [value for value in vars(tables).values() if isinstance(value, tables.Table)]
    columns = [c for table in (*shared, predictions) for c in table.columns]
    columns += [*tables.METER, *tables.ERROR, *tables.REASON]

    assert [c.name for c in columns if not c.comment] == []
    assert [c.name for c in columns if c.name.endswith("_s") and "second" not in c.comment] == []
    assert [c.name for c in columns if c.name.endswith("bytes") and "ytes" not in c.comment] == []
    assert [c.role for c in predictions.columns[:3]] == ["key", "output", "keep"]


amounts = st.decimals(0, 1000, places=4, allow_nan=False, allow_infinity=False)


@given(price=amounts, cores=st.integers(1, 448), gb=amounts, core=amounts, per_gb=amounts)
def test_components_sum_to_the_price_of_the_node(
    price: Decimal, cores: int, gb: Decimal, core: Decimal, per_gb: Decimal
) -> None:
    node = Instance(
        sku="x", region="x", vcpus=cores, memory_gb=gb, price_per_hour=price, valid_from="2026-01-01",  # type: ignore[arg-type]
        source="test", core_weight=core, gb_weight=per_gb,
    )  # fmt: skip
    an_hour = (node.core_second * cores + node.gb_second * gb) * 3600

    rounding = Decimal("5e-13") * 3600 * (cores + gb)
    assert abs(an_hour - price) <= rounding + Decimal("1e-9")


TREE = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.MillraceError)
]


@pytest.mark.parametrize("kind", TREE)
def test_an_error_survives_the_way_from_a_worker(kind: type[errors.MillraceError]) -> None:
    error = kind("what", got="g", allowed="a", next="n")
    back = pickle.loads(pickle.dumps(error))

    assert type(back) is kind
    assert str(back) == str(error) == "what\n  got:     g\n  allowed: a\n  next:    n"
    assert back.as_json() == error.as_json()


def test_exit_codes_are_the_documented_ones() -> None:
    codes = {kind.__name__: kind.exit_code for kind in TREE}
    assert codes == {
        "MillraceError": 5, "UsageError": 2, "JobFileError": 2, "ModelError": 2, "QueryError": 2,
        "GateRefused": 3, "SchemaMismatch": 3, "BudgetExceeded": 4, "RunFailed": 5, "InputCorrupt": 5,
        "OutputMismatch": 5, "ClaimHeld": 6, "ClaimLost": 6, "TooManyFailed": 5, "OutputRefused": 5,
        "Interrupted": 130,
    }  # fmt: skip
    documented = errors.__doc__ or ""
    assert [name for name in codes if name not in documented] == []


def test_a_fingerprint_changes_with_everything_that_decides_results() -> None:
    base = {
        "job": "j",
        "pinned": "p",
        "contract": {"a": 1},
        "model_digest": "m",
        "settings": {"precision": "fp32"},
    }
    changes = {
        "job": "k",
        "pinned": "q",
        "contract": {"a": 2},
        "model_digest": "n",
        "settings": {"precision": "bf16"},
    }

    prints = [ids.fingerprint(**base)] + [
        ids.fingerprint(**{**base, k: v}) for k, v in changes.items()
    ]  # type: ignore[arg-type]

    assert len(set(prints)) == 6
    assert ids.fingerprint(**base) == prints[0]  # type: ignore[arg-type]
