from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.udfs.engine.prefetch import ahead


@settings(max_examples=25)
@given(st.lists(st.one_of(st.none(), st.integers(), st.lists(st.integers()))))
def test_items_come_as_they_are_and_in_order(items: list[object]) -> None:
    assert list(ahead(iter(items))) == items


def test_the_next_item_is_made_while_the_last_one_is_used() -> None:
    making = [threading.Event() for _ in range(5)]

    def items() -> Iterator[int]:
        for number, begun in enumerate(making):
            begun.set()
            yield number

    for number in ahead(items()):
        for begun in making[number + 1 : number + 2]:
            assert begun.wait(30), f"item {number + 1} is not begun while {number} is used"


def test_what_making_an_item_raises_comes_after_the_items_before_it() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("two")

    items = ahead(broken())

    assert next(items) == 1
    with pytest.raises(ValueError, match="two"):
        next(items)


def test_no_thread_is_left_when_the_consumer_stops_early() -> None:
    items = ahead(iter(range(100)))
    next(items)
    items.close()

    assert not [t for t in threading.enumerate() if t.name.startswith("ahead")]
