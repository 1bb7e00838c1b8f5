"""Work done ahead: the next item is made in a thread while the last one is used."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def ahead(items: Iterator[T]) -> Generator[T, None, None]:
    """The same items in the same order; one is made beforehand, in a thread of its own.

    What making one raises is raised when its turn comes. When the consumer stops early, the item
    under way is finished and dropped.
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
