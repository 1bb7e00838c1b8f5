"""Threads that ask Spark for something beside the main one; none is waited for when it is not wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

from pyspark.sql import SparkSession

from pipelines import place

_CANCEL_EVERY_S = 0.2


@contextmanager
def beside(spark: SparkSession, threads: int) -> Iterator[Callable[..., Future[Any]]]:
    """``submit(function, *arguments)`` for as many threads; at the end all of it is done.

    Where the block is left by an error, or a signal, what has not begun does not begin, and Spark's
    jobs are cancelled. A commit, which is no job, is let through.
    """
    started: list[Future[Any]] = []

    def submit(function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        started.append(pool.submit(function, *arguments))
        return started[-1]

    pool = ThreadPoolExecutor(threads)
    try:
        yield submit
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        while running := [one for one in started if not one.done()]:
            place.cancel(spark)
            wait(running, timeout=_CANCEL_EVERY_S)
        raise
    finally:
        pool.shutdown()
