from __future__ import annotations

import json
import math
import re
import string
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from millrace.pipelines.reporting.value_masking import kind_of, kind_text, shape
from millrace.pipelines.validation import quarantine
from millrace.schemas.rule import Rule

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = SCALARS | st.lists(SCALARS, max_size=4) | st.dictionaries(st.text(), SCALARS, max_size=4)
WORDS = re.compile(
    r"null|true or false|empty text|not a finite number"
    r"|(negative )?(whole number|number with a fraction), [\d,]+ digits?"
    r"|(list|object), [\d,]+ parts?"
    r"|(binary|binary or long text), [\d,]+ bytes?|redacted|empty binary"
    r"|(text in UTF-8|PNG|JPEG|GIF|WebP|TIFF|BMP|PDF|gzip|zip|Parquet), [\d,]+ bytes?"
    r"|text, [\d,]+ characters?"
    r"(: |, (?!$)|letters|accents|digits|spaces|punctuation|symbols|control characters)*"
)


@given(VALUES)
def test_a_shape_has_words_of_ours_and_a_length_and_nothing_of_the_value(value: Any) -> None:
    assert WORDS.fullmatch(shape(value))


@given(st.text(string.ascii_letters, min_size=1), st.randoms())
def test_texts_of_equal_length_and_characters_look_alike(text: str, random: Any) -> None:
    other = "".join(random.choice(string.ascii_letters) for _ in text)
    assert shape(text) == shape(other)


@given(st.lists(st.text("ab", min_size=1, max_size=30), min_size=1))
def test_values_of_one_kind_are_told_by_their_shortest_and_longest(texts: list[str]) -> None:
    kinds, lengths = zip(*map(kind_of, texts), strict=True)
    assert len(set(kinds)) == 1
    found = [int(number) for number in re.findall(r"\d+", kind_text(kinds[0], lengths))]
    assert {found[0], found[-1]} == {min(map(len, texts)), max(map(len, texts))}


def test_shapes_are_read_as_people_say_them() -> None:
    assert [shape(value) for value in (None, True, 0, -12, 1234.5, math.nan, "", "a", [1, 2], {})] == [
        "null", "true or false", "whole number, 1 digit", "negative whole number, 2 digits",
        "number with a fraction, 4 digits", "not a finite number", "empty text",
        "text, 1 character: letters", "list, 2 parts", "object, 0 parts",
    ]  # fmt: skip
    assert shape("Zoë-7 €") == "text, 7 characters: letters, digits, spaces, punctuation, symbols"


@pytest.mark.spark
def test_a_placeholder_is_told_as_the_value_that_it_stands_for(spark: SparkSession) -> None:
    row = (
        b"\x89PNG\r\n",
        b"",
        b"x",
        "secret",
        b"secret",
        "12 bytes",
        Decimal("-12.50"),
        date(2026, 1, 1),
        [1, 2],
    )
    schema = "raw binary, none binary, one binary, name string, face binary, text string, price decimal(6,2), day date, tags array<int>"
    frame = spark.createDataFrame([row], schema)
    rule = Rule(
        name="r", kind="row", columns=tuple(frame.columns), predicate="true", severity="error"
    )

    cells = {}
    for name in frame.columns:  # each alone, since all together are cut at 200 characters
        one = rule.model_copy(update={"columns": (name,)})
        seen = frame.select(quarantine.observed(one, frame.schema, ["name", "face"]).alias("o"))
        cells[name] = shape(json.loads(seen.collect()[0].o)[name])

    assert cells == {
        "raw": "binary, 6 bytes", "none": "empty binary", "one": "text in UTF-8, 1 byte",
        "name": "redacted", "face": "redacted", "text": "text, 8 characters: letters, digits, spaces",
        "price": "negative number with a fraction, 2 digits",
        "day": "text, 10 characters: digits, punctuation", "tags": "list, 2 parts",
    }  # fmt: skip
    assert shape(f"5000000 bytes, sha256 {'0' * 16}") == "binary or long text, 5,000,000 bytes"


FILES = {  # the shortest beginnings that say what a file is
    "PNG": b"\x89PNG\r\n\x1a\n",
    "JPEG": b"\xff\xd8\xff",
    "GIF": b"GIF89a",
    "WebP": b"RIFF\x24\x00\x00\x00WEBP",
    "TIFF": b"MM\x00*",
    "BMP": b"BM\x46\x00\x00\x00\x00\x00\x00\x00",
    "PDF": b"%PDF-1.7",
    "gzip": b"\x1f\x8b\x08",
    "zip": b"PK\x03\x04",
    "Parquet": b"PAR1",
}
NEARLY = {  # a beginning alone is not enough, and no text is taken for another kind
    b"BM is a text too": "text in UTF-8",
    b"RIFF\x24\x00\x00\x00WAVE": "binary",
    "é\tand\nmore".encode(): "text in UTF-8",
    "é".encode("latin-1"): "binary",
    bytes(16): "binary",
    b" \x89PNG\r\n\x1a\n": "binary",
}


BEGINNINGS = {  # by the formats' specifications; Hypothesis draws the constants of our own code, too
    "PNG": [b"\x89PNG\r\n\x1a\n"],
    "JPEG": [b"\xff\xd8\xff"],
    "GIF": [b"GIF87a", b"GIF89a"],
    "TIFF": [b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"],
    "PDF": [b"%PDF-"],
    "gzip": [b"\x1f\x8b\x08"],
    "zip": [b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08"],
    "Parquet": [b"PAR1"],
}


def plain_kind(value: bytes) -> str:
    """The kind of a value as a reader of the formats' specifications says it."""
    for kind, beginnings in BEGINNINGS.items():
        if any(value.startswith(one) for one in beginnings):
            return kind
    if value[:4] == b"RIFF" and value[8:12] == b"WEBP":
        return "WebP"
    if value[:2] == b"BM" and len(value) >= 10 and value[6:10] == bytes(4):
        return "BMP"
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        return "binary"
    control = {*range(32)} - {9, 10, 12, 13} | {127}
    return "binary" if control & {*map(ord, text)} else "text in UTF-8"


@pytest.mark.spark
@settings(max_examples=3)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [
                    *FILES.values(),
                    *BEGINNINGS["GIF"],
                    *BEGINNINGS["TIFF"],
                    *BEGINNINGS["zip"],
                    *NEARLY,
                    b"",
                ]
            ),
            st.binary(max_size=20),
        ).map(b"".join),
        min_size=40,
    )
)
def test_binary_values_are_identified_by_what_their_first_bytes_are(
    spark: SparkSession, drawn: list[bytes]
) -> None:
    values = [one for one in (*FILES.values(), *NEARLY, *drawn) if one]
    frame = spark.createDataFrame([(value,) for value in values], "raw binary").coalesce(1)
    rule = Rule(name="r", kind="row", columns=("raw",), predicate="true", severity="error")
    seen = frame.select(quarantine.observed(rule, frame.schema, []).alias("o")).collect()
    shapes = [shape(json.loads(row.o)["raw"]) for row in seen]

    assert shapes[: len(FILES) + len(NEARLY)] == [
        f"{kind}, {len(value):,} byte{'' if len(value) == 1 else 's'}"
        for value, kind in [*((value, kind) for kind, value in FILES.items()), *NEARLY.items()]
    ]
    assert [one.partition(",")[0] for one in shapes] == [plain_kind(value) for value in values]
