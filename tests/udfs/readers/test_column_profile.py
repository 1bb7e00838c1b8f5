"""Profiles of parts add up to the profile of the whole."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.udfs.readers.column_profile import ColumnProfile, merged
from millrace.udfs.readers.profiling import profile_of, rows_of

VALUES = {
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.float64(): st.floats(),
    pa.string(): st.text(max_size=8)
    | st.sampled_from(["2024-01-01", "a@b.cd", "7", "AB-12", "\ufffd"]),
    pa.binary(): st.binary(max_size=4) | st.just(bytes(4)),
    pa.date32(): st.dates(),
    pa.timestamp("us", "UTC"): st.datetimes(timezones=st.just(dt.UTC)),
    pa.decimal128(6, 2): st.decimals(-9999, 9999, places=2),
    pa.list_(pa.float64()): st.lists(st.floats() | st.none(), max_size=3),
    pa.bool_(): st.booleans(),
}


@settings(max_examples=25)
@pytest.mark.parametrize("kind", VALUES, ids=str)
@given(st.data())
def test_parts_add_up_to_the_whole(kind: pa.DataType, data: st.DataObject) -> None:
    values = data.draw(st.lists(VALUES[kind] | st.none(), max_size=12))
    cut = data.draw(st.integers(0, len(values)))
    parts = [profile_of(pa.array(part, kind)) for part in (values[:cut], values[cut:])]

    whole = profile_of(pa.array(values, kind))
    added = merged(
        ColumnProfile.of_json(parts[0].as_json()), ColumnProfile.of_json(parts[1].as_json())
    )

    def plain(profile: ColumnProfile) -> str:
        order = [
            None if f is None else sorted(map(str, f))
            for f in (profile.values, profile.skeletons, profile.heads)
        ]
        return str(
            (
                order,
                {
                    k: v
                    for k, v in vars(profile).items()
                    if k not in ("values", "skeletons", "heads", "repeated")
                },
            )
        )

    assert plain(added) == plain(whole)
    if whole.values is not None:
        assert added.repeated == whole.repeated


def test_a_profile_says_what_the_values_are_like() -> None:
    numbers = profile_of(pa.array([1.0, 2.5, float("nan"), float("inf"), None]))
    assert (numbers.rows, numbers.nulls, numbers.not_finite, numbers.whole) == (5, 1, 2, False)
    assert (numbers.least, numbers.most) == (1.0, 2.5)
    texts = profile_of(pa.array(["AB-12", "CD-34", "AB-12"]))
    assert (texts.skeletons, texts.repeated, texts.shortest, texts.longest) == (
        ("AA-99",),
        True,
        5,
        5,
    )
    assert texts.shapes == ()
    assert profile_of(pa.array(["  ", "a\x01", "\ufffd"])).blank == 1
    assert profile_of(pa.array(["  ", "a\x01", "\ufffd"])).garbled == 2
    prices = profile_of(pa.array([Decimal("9.5"), Decimal("10.25")], pa.decimal128(6, 2)))
    assert (prices.least, prices.most) == ("9.50", "10.25")
    bytes_ = profile_of(pa.array([b"\x00\x00", b"\x01\x02\x03", None]))
    assert (bytes_.blank, bytes_.shortest, bytes_.longest, bytes_.heads) == (
        1,
        2,
        3,
        ("0000", "010203"),
    )
    assert profile_of(pa.array(list(map(str, range(100))))).values is None


def test_what_goes_to_the_driver_is_a_row_a_column() -> None:
    batch = pa.RecordBatch.from_pydict({"a": [1, 2], "b": ["x", None]})
    (batch_of_profiles,) = rows_of([batch, batch])
    found = {r["name"]: ColumnProfile.of_json(r["profile"]) for r in batch_of_profiles.to_pylist()}
    assert found["a"].rows == 4
    assert found["b"].nulls == 2
    assert found["a"].repeated
    (nothing,) = rows_of([])
    assert nothing.num_rows == 0
