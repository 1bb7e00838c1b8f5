"""The hash of a row's inputs: equal for equal ones wherever they stand, and for no others."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame, Row, SparkSession

from millrace.pipelines.inference.input_hash import input_hash
from millrace.schemas.errors import UsageError

pytestmark = pytest.mark.spark
SCHEMA = (
    "a string, b string, x binary, f float, d double, n int, l bigint, t boolean, v array<double>"
)
NAMES = [part.split()[0] for part in SCHEMA.split(", ")]
WORDS = [
    "",
    "-",
    "0:",
    "1:a",
    "a",
    "b",
    "ab",
    "null",
    "NULL",
    "[]",
    "é",
    "e\u0301",
    "\x00",
    "2:",
    "😀",
]
NUMBERS = [0.0, -0.0, math.nan, math.inf, -math.inf, 1.0, -1.0, 5e-324, 0.1, 1e300]


def drawn(values: list[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), st.sampled_from(values))


ROWS = st.tuples(
    st.one_of(drawn(WORDS), st.text(max_size=4)),
    drawn(WORDS),
    st.one_of(drawn([word.encode() for word in WORDS]), st.binary(max_size=3)),
    drawn([0.0, -0.0, math.nan, math.inf, 1.0, 0.5]),
    st.one_of(drawn(NUMBERS), st.floats()),
    drawn([0, 1, -1, 2**31 - 1]),
    drawn([0, 1, -1, 2**63 - 1]),
    drawn([True, False]),
    st.one_of(st.none(), st.lists(drawn(NUMBERS), max_size=3)),
)


def identity(value: Any) -> Any:
    """What tells two Python values apart as a model would: -0.0 is not 0.0, and NaN is itself."""
    if isinstance(value, list):
        return ("list", *map(identity, value))
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else struct.pack("<d", value)
    return (type(value).__name__, value)


def hashes(spark: SparkSession, rows: list[tuple[Any, ...]], partitions: int = 1) -> list[bytes]:
    """By the rows' order."""
    numbered = [(number, *row) for number, row in enumerate(rows)]
    frame = spark.createDataFrame(numbered, f"_at int, {SCHEMA}").repartition(partitions)
    found = frame.select("_at", input_hash(frame, NAMES).alias("hash")).collect()
    return [bytes(row["hash"]) for row in sorted(found, key=lambda row: row["_at"])]


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ROWS, min_size=2, max_size=200))
def test_hashes_are_equal_where_rows_are_and_nowhere_else(
    spark: SparkSession, rows: list[tuple[Any, ...]]
) -> None:
    twice = [*rows, *rows]
    found = hashes(spark, twice, partitions=3)

    keys = [tuple(map(identity, row)) for row in twice]
    assert {len(one) for one in found} == {16}
    assert len(set(found)) == len(set(keys)) == len(set(zip(keys, found, strict=True)))


def of(**values: Any) -> tuple[Any, ...]:
    return tuple(values.get(name) for name in NAMES)


TRAPS = [
    (of(a="ab", b="c"), of(a="a", b="bc")),
    (of(a="a", b=None), of(a=None, b="a")),
    (of(a="", b=None), of(a=None, b="")),
    (of(a="1:a1:b", b=""), of(a="a", b="b")),
    (of(a="-", b=None), of(a=None, b="-")),
    (of(a="a\x00", b="b"), of(a="a", b="\x00b")),
    (of(d=0.0), of(d=-0.0)),
    (of(f=0.0), of(f=-0.0)),
    (of(d=math.nan), of(d=None)),
    (of(n=1), of(l=1)),
    (of(f=1.0), of(d=1.0)),
    (of(v=[]), of(v=None)),
    (of(v=[None]), of(v=[])),
    (of(v=[1.0, None]), of(v=[None, 1.0])),
    (of(v=[0.0]), of(v=[-0.0])),
    (of(v=[math.nan]), of(v=[None])),
    (of(a="a"), of(x=b"a")),
    (of(a="é"), of(a="e\u0301")),
    (of(d=0.1), of(d=math.nextafter(0.1, 1))),
]


def test_traps_have_hashes_of_their_own(spark: SparkSession) -> None:
    found = hashes(spark, [row for pair in TRAPS for row in pair])
    pairs = list(zip(found[::2], found[1::2], strict=True))
    assert [trap for trap, (one, other) in zip(TRAPS, pairs, strict=True) if one == other] == []


def test_a_hash_is_what_it_was_when_it_was_first_kept(spark: SparkSession) -> None:
    rows = [of(), of(a="héllo", d=-0.0, v=[1.0, None])]
    assert [one.hex() for one in hashes(spark, rows)] == KEPT


KEPT = ["89944ec553fd2a8d03570f3d4ba199a7", "1390221344fc39e0cb329c111e4c48ac"]


def test_dates_and_instants_have_hashes_of_their_own(spark: SparkSession) -> None:
    told = "timestamp_micros(id) as at, date_from_unix_date(cast(id as int)) as day"
    frame = spark.sql(f"SELECT {told} FROM range(-2, 3)")
    hashed = {
        zone: [bytes(row[0]) for row in _in_zone(spark, zone, frame)]
        for zone in ("UTC", "Asia/Tokyo")
    }
    assert hashed["UTC"] == hashed["Asia/Tokyo"]
    assert len(set(hashed["UTC"])) == 5


def _in_zone(spark: SparkSession, zone: str, frame: DataFrame) -> list[Row]:
    spark.conf.set("spark.sql.session.timeZone", zone)
    try:
        return frame.select(input_hash(frame, ["at", "day"])).collect()
    finally:
        spark.conf.set("spark.sql.session.timeZone", "UTC")


def test_a_type_without_bytes_of_its_own_is_refused_with_what_is_allowed(
    spark: SparkSession,
) -> None:
    frame = spark.sql("SELECT array('a', 'b') AS words")
    with pytest.raises(UsageError, match=r"words array<string>[\s\S]*allowed[\s\S]*dedupe: off"):
        input_hash(frame, ["words"])
