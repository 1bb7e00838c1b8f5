from __future__ import annotations

import math
import re
import string
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipelines.value_shape import kind_of, shape, told

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = SCALARS | st.lists(SCALARS, max_size=4) | st.dictionaries(st.text(), SCALARS, max_size=4)
WORDS = re.compile(
    r"null|true or false|empty text|not a finite number"
    r"|(negative )?(whole number|number with a fraction), [\d,]+ digits?"
    r"|(list|object), [\d,]+ parts?"
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
    found = [int(number) for number in re.findall(r"\d+", told(kinds[0], lengths))]
    assert {found[0], found[-1]} == {min(map(len, texts)), max(map(len, texts))}


def test_shapes_are_read_as_people_say_them() -> None:
    assert [shape(value) for value in (None, True, 0, -12, 1234.5, math.nan, "", "a", [1, 2], {})] == [
        "null", "true or false", "whole number, 1 digit", "negative whole number, 2 digits",
        "number with a fraction, 4 digits", "not a finite number", "empty text",
        "text, 1 character: letters", "list, 2 parts", "object, 0 parts",
    ]  # fmt: skip
    assert shape("Zoë-7 €") == "text, 7 characters: letters, digits, spaces, punctuation, symbols"
