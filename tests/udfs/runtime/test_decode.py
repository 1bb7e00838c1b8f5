from __future__ import annotations

import io
import struct
import zlib
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from millrace.schemas.model import Signature
from millrace.schemas.steps import ColumnsOptions, ImageOptions, PixelsOptions, VectorOptions
from millrace.schemas.types import sql_type
from millrace.udfs.engine.row_isolation import summarize_error
from millrace.udfs.runtime.decode import columns, image, pixels, vector


def signature(**inputs: dict[str, Any]) -> Signature:
    return Signature.model_validate({"inputs": inputs, "outputs": {"y": {"type": "int"}}})


def batch(**arrays: pa.Array) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(arrays)


BYTES = signature(x={"type": "binary", "shape": [2, 3]})
PICTURE = signature(x={"type": "binary", "shape": [3, 4, 5]})  # channels, height, width
NUMBERS = signature(x={"type": "array<double>", "shape": [2]})


def png(width: int = 5, height: int = 4, mode: str = "RGB", color: Any = (1, 2, 3)) -> bytes:
    out = io.BytesIO()
    Image.new(mode, (width, height), color).save(out, "PNG")
    return out.getvalue()


def noise() -> bytes:
    out = io.BytesIO()
    drawn = np.random.default_rng(0).integers(0, 256, (30, 30, 3), dtype=np.uint8)
    Image.fromarray(drawn).save(out, "PNG")
    return out.getvalue()


NOISE = noise()


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header promises so many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 10))
        + chunk(b"IEND", b"")
    )


@given(
    st.lists(st.none() | st.binary(min_size=6, max_size=6) | st.binary(max_size=8), max_size=12),
    st.integers(0, 5),
    st.sampled_from([pa.binary(), pa.large_binary()]),
)
def test_raw_bytes_become_arrays_and_every_other_row_is_an_error(
    cells: list[bytes | None], skip: int, kind: pa.DataType
) -> None:
    sliced = pa.array(cells, kind).slice(skip)  # an offset, as Spark's own slices have

    found = pixels(BYTES, PixelsOptions())(batch(x=sliced))

    cells_left = cells[skip:]
    good = [row for row, cell in enumerate(cells_left) if cell is not None and len(cell) == 6]
    assert found.rows.tolist() == good
    assert sorted(found.errors) == [row for row in range(len(cells_left)) if row not in good]
    assert [value.tobytes() for value in found.values] == [cells_left[row] for row in good]
    assert np.shape(found.values) == (len(good), 2, 3)


def test_the_error_of_a_row_of_bytes_says_null_or_how_many_bytes() -> None:
    found = pixels(BYTES, PixelsOptions())(
        batch(x=pa.array([None, b"abc", b"abcdef"], pa.binary()))
    )

    assert found.errors == {0: "null", 1: "3 bytes, expected 6"}


def test_bytes_are_not_copied_where_all_rows_are_good() -> None:
    cells = pa.array([b"abcdef", b"ghijkl"], pa.binary())

    values = pixels(BYTES, PixelsOptions())(batch(x=cells)).values

    assert isinstance(values, np.ndarray)
    assert values.ctypes.data == cells.buffers()[2].address


def test_an_image_becomes_channels_height_width() -> None:
    found = image(PICTURE, ImageOptions())(batch(x=pa.array([png()])))

    assert np.shape(found.values) == (1, 3, 4, 5)
    assert [int(c[0, 0]) for c in found.values[0]] == [1, 2, 3]  # type: ignore[index]


def test_images_of_another_size_or_mode_are_converted() -> None:
    cells = [png(9, 9), png(mode="L", color=7), png(mode="P", color=0), png(mode="RGBA", color=0)]

    found = image(PICTURE, ImageOptions())(batch(x=pa.array(cells)))

    assert (found.errors, np.shape(found.values)) == ({}, (4, 3, 4, 5))


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (None, "null"),
        (b"", "UnidentifiedImageError"),
        (b"not an image", "UnidentifiedImageError"),
        (b"GIF89a\x01\x00\x01\x00\x00\x00\x00;", "UnidentifiedImageError"),
        (NOISE[: len(NOISE) // 2], ""),
        (png()[:40], ""),
        (png()[:45] + b"\xff\xff\xff" + png()[48:], ""),
        (bomb(40_000, 40_000), "pixels"),
        (bomb(8_000, 8_000), "more than 50000000 pixels"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n", "UnidentifiedImageError"),
    ],
    ids=["null", "empty", "text", "gif", "cut", "header", "flipped", "bomb", "big", "postscript"],
)
def test_an_image_that_cannot_be_decoded_is_an_error_and_its_neighbours_are_not(
    cell: bytes | None, reason: str
) -> None:
    found = image(PICTURE, ImageOptions())(batch(x=pa.array([png(), cell, png()], pa.binary())))

    assert found.rows.tolist() == [0, 2]
    assert list(found.errors) == [1]
    assert reason in found.errors[1]
    assert len(found.errors[1]) <= 200
    # An address in memory would make another message of the same row on each run.
    assert " at 0x" not in found.errors[1]


def test_the_same_failure_has_the_same_message_wherever_its_objects_are() -> None:
    texts = {
        summarize_error(ValueError(f"cannot read {object()!r} or {io.BytesIO(b'x')!r}"))
        for _ in "ab"
    }
    assert texts == {"ValueError: cannot read <object object> or <_io.BytesIO object>"}


def test_the_largest_image_can_be_set() -> None:
    found = image(PICTURE, ImageOptions(max_pixels=10))(batch(x=pa.array([png()])))

    assert found.errors == {0: "ValueError: 5x4: more than 10 pixels"}


def test_sixteen_bit_grey_is_scaled_and_not_clipped_to_white() -> None:
    grey = signature(x={"type": "binary", "shape": [1, 1, 1]})
    out = io.BytesIO()
    Image.fromarray(np.full((1, 1), 0x8000, np.uint16)).save(out, "PNG")

    found = image(grey, ImageOptions())(batch(x=pa.array([out.getvalue()])))

    assert found.errors or int(found.values[0][0][0][0]) in (127, 128)  # type: ignore[index]


def test_a_vector_of_another_length_or_with_nan_is_an_error_of_its_row() -> None:
    cells = [[1.0, 2.0], None, [1.0], [1.0, None], [float("nan"), 1.0], [1.0, float("inf")], [3, 4]]

    found = vector(NUMBERS, VectorOptions())(batch(x=pa.array(cells, pa.list_(pa.float64()))))

    assert found.rows.tolist() == [0, 6]
    assert np.array_equal(found.values, np.array([[1, 2], [3, 4]], np.float32))
    bad = "null, NaN or infinite value"
    assert found.errors == {1: "null", 2: "1 values, expected 2", 3: bad, 4: bad, 5: bad}


def test_a_double_that_no_float_can_hold_is_an_error_of_its_row() -> None:
    found = vector(NUMBERS, VectorOptions())(batch(x=pa.array([[1e300, 1.0], [1.0, 1.0]])))

    assert (found.rows.tolist(), list(found.errors)) == ([1], [0])


@given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=8))
def test_every_integer_is_a_number_however_large(cells: list[int | None]) -> None:
    decode = columns(signature(n={"type": "bigint"}), ColumnsOptions())

    found = decode(batch(n=pa.array(cells, pa.int64())))

    assert sorted(found.errors) == [row for row, cell in enumerate(cells) if cell is None]
    good = [cell for cell in cells if cell is not None]
    assert np.array_equal(found.values, np.array(good, np.float32).reshape(-1, 1))


@pytest.mark.parametrize(
    ("kind", "cells"),
    [
        ("tinyint", [-128, 127]),
        ("smallint", [-(2**15), 2**15 - 1]),
        ("int", [-(2**31), 2**31 - 1]),
        ("float", [1.5, -2.0]),
        ("double", [1.5, 1e30]),
        ("boolean", [True, False]),
    ],
)
def test_numbers_of_every_declared_type_are_read(kind: str, cells: list[Any]) -> None:
    from millrace.schemas.types import arrow_type

    found = columns(signature(n={"type": kind}), ColumnsOptions())(
        batch(n=pa.array(cells, arrow_type(kind)))
    )

    assert np.array_equal(found.values, np.array(cells, np.float32).reshape(-1, 1))


def test_columns_come_in_the_order_of_the_signature() -> None:
    decode = columns(signature(b={"type": "int"}, a={"type": "int"}), ColumnsOptions())

    found = decode(batch(a=pa.array([1], pa.int32()), b=pa.array([2], pa.int32())))

    assert np.array_equal(found.values, [[2.0, 1.0]])


@given(st.lists(st.none() | st.decimals(-(10**6), 10**6, places=2), min_size=1, max_size=20))
def test_a_decimal_is_the_float_nearest_to_it(values: list[Decimal | None]) -> None:
    decode = columns(signature(a={"type": "double"}), ColumnsOptions())

    found = decode(batch(a=pa.array(values, pa.decimal128(9, 2))))

    there = [float(value) for value in values if value is not None]
    assert found.values.ravel().tolist() == np.array(there, np.float32).tolist()
    assert list(found.errors) == [row for row, value in enumerate(values) if value is None]


@given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1) | st.integers(-200, 200), max_size=20))
def test_an_integer_beyond_the_models_own_type_is_an_error_of_its_row(
    values: list[int | None],
) -> None:
    decode = columns(signature(a={"type": "tinyint"}), ColumnsOptions())

    found = decode(batch(a=pa.array(values, pa.int64())))

    good = [row for row, v in enumerate(values) if v is not None and -128 <= v <= 127]
    assert found.rows.tolist() == good
    assert found.values.ravel().tolist() == [values[row] for row in good]
    for row, value in enumerate(values):
        if value is not None and row not in good:
            assert found.errors[row] == f"a: {value} is beyond tinyint"


def test_a_batch_without_rows_decodes_to_nothing() -> None:
    for decode, kind in (
        (pixels(BYTES, PixelsOptions()), pa.binary()),
        (image(PICTURE, ImageOptions()), pa.binary()),
        (vector(NUMBERS, VectorOptions()), pa.list_(pa.float64())),
    ):
        found = decode(batch(x=pa.array([], kind)))
        assert (len(found.values), found.errors) == (0, {})


def decoded(cells: pa.Array, kind: str, **options: Any) -> Any:
    sql = sql_type(cells.type)
    step = ColumnsOptions(type=kind, **options)
    return columns(signature(n={"type": sql}), step)(batch(n=cells))


def test_large_whole_numbers_reach_a_graph_as_they_are_or_are_row_errors() -> None:
    large = pa.array([1, 2**24 + 1, 2**53 + 1, None])

    float32 = decoded(large, "float", exact=True)
    float64 = decoded(large, "double", exact=True)
    int64 = decoded(large, "bigint")

    assert list(float32.rows) == [0]
    assert float32.errors[1] == "n: 16777217 is not exact as float32"
    assert list(float64.rows) == [0, 1]
    assert float64.errors[2] == "n: 9007199254740993 is not exact as float64"
    assert int64.values.ravel().tolist() == [1, 2**24 + 1, 2**53 + 1]
    assert set(int64.errors) == {3}
    assert [v.dtype for v in (float32.values, float64.values, int64.values)] == ["f4", "f8", "i8"]


def test_a_fraction_is_no_whole_number_and_a_double_keeps_its_digits() -> None:
    fractions = pa.array([0.1, 2.0, float("nan")])

    assert decoded(fractions, "double").values.ravel().tolist() == [0.1, 2.0]
    whole = decoded(fractions, "bigint")
    assert (list(whole.rows), whole.values.ravel().tolist()) == ([1], [2])
    assert whole.errors[0] == "n: 0.1 is not exact as int64"


WHOLE = st.integers(-(2**60), 2**60) | st.sampled_from([2**24 + 1, 2**53 + 1, 10**19 + 1, -(2**63)])


@given(wholes=st.lists(st.none() | WHOLE, max_size=8), kind=st.sampled_from(["float", "double", "bigint"]),
       column=st.sampled_from([pa.decimal128(20, 0), pa.decimal128(24, 2), pa.float64()]))  # fmt: skip
def test_exact_whole_numbers_are_read_as_they_are_or_are_row_errors_in_any_column_type(
    wholes: list[int | None], kind: str, column: pa.DataType
) -> None:
    if column == pa.float64():  # those that a double holds, and counts one by one
        wholes = [one for one in wholes if one is None or abs(one) < 2**53]
    given_ = [None if one is None else Decimal(one) for one in wholes]
    cells = pa.array(given_, pa.decimal128(24, 0)).cast(column)
    more = {} if kind == "bigint" else {"exact": True}

    found = decoded(cells, kind, **more)

    read = found.values.ravel().tolist()
    assert [int(one) for one in read] == [wholes[row] for row in found.rows]
    assert set(found.rows) | set(found.errors) == set(range(len(wholes)))
    target = {"float": np.float32, "double": np.float64, "bigint": np.int64}[kind]
    for row, why in found.errors.items():
        one = wholes[row]
        if one is not None and abs(one) < 2**63:
            assert int(target(one)) != one, why


def test_exact_lets_fractions_and_measurements_be_rounded() -> None:
    found = decoded(pa.array([0.1, 1e30, 16777216.5]), "float", exact=True)
    assert found.errors == {}
    found = decoded(pa.array([Decimal("0.10")], pa.decimal128(9, 2)), "float", exact=True)
    assert found.errors == {}


@pytest.mark.parametrize("kind", ["float", "double"])
def test_a_null_is_nan_where_the_step_says_so_and_infinity_is_an_error(kind: str) -> None:
    found = decoded(pa.array([None, 1.5, float("nan"), float("inf")]), kind, missing="nan")

    assert np.isnan(found.values.ravel()).tolist() == [True, False, True]
    assert found.errors == {3: "infinite value"}
