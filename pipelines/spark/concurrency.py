"""Background threads that submit Spark jobs; after an error their jobs are cancelled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

from pyspark.sql import SparkSession

from millrace.pipelines.spark import cluster

_CANCEL_EVERY_S = 0.2


@contextmanager
def background(spark: SparkSession, threads: int) -> Iterator[Callable[..., Future[Any]]]:
    """Yield ``submit(function, *arguments)`` of a pool of threads; the block waits for all of them.

    After an error or a signal, pending calls are dropped and running Spark jobs are cancelled. A commit,
    which is not a Spark job, completes.
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
            cluster.cancel(spark)
            wait(running, timeout=_CANCEL_EVERY_S)
        raise
    finally:
        pool.shutdown()
