"""Prepares the next item in a thread while the consumer uses the last one."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def ahead(items: Iterator[T]) -> Generator[T, None, None]:
    """Yield the same items in order; a thread prepares one item in advance.

    An exception of an item is raised when its turn comes. If the consumer stops early, the item in
    preparation is finished and dropped.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
        coming: Future[list[T]] = pool.submit(_one, items)
        while item := coming.result():
            coming = pool.submit(_one, items)
            yield item[0]


def _one(items: Iterator[T]) -> list[T]:
    """The next item in a list, or an empty one: an iterator's end is not an error here."""
    for item in items:
        return [item]
    return []
