"""The adapter to what PySpark does not document: no other module calls these names.

The release of PySpark is pinned; `tests/pipelines/spark/test_pyspark_internals.py` fails when it changes
one of them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from pyspark import SparkContext
from pyspark.logger import PySparkLogger
from pyspark.sql import SparkSession

# PySpark imports these at the first query, in another thread here: two threads that import at once may
# see each other's modules half initialised.
from pyspark.sql.classic import column as _column  # noqa: F401
from pyspark.sql.classic import dataframe as _dataframe  # noqa: F401
from pyspark.sql.pandas import map_ops as _map_ops  # noqa: F401

_QUERY_LOGGERS = ("DataFrameQueryContextLogger", "SQLQueryContextLogger")


def is_connect(spark: SparkSession) -> bool:
    """Whether the session talks to a Spark Connect server."""
    return type(spark).__module__.startswith("pyspark.sql.connect")


def session_id(spark: SparkSession) -> str:
    """The id of a Connect session; empty for a classic one, which has none."""
    return str(getattr(spark, "session_id", ""))


def leave_connect_mode() -> None:
    """Let the next session of this process be a classic one: a Connect session that has ended forbids it."""
    if "SPARK_REMOTE" not in os.environ:
        os.environ.pop("SPARK_CONNECT_MODE_ENABLED", None)


def connected(socket: Path) -> SparkSession:
    """A new session of the Spark Connect server that listens at a Unix socket.

    Its calls fail at once where the server is gone, not after ten minutes.
    """
    from pyspark.sql.connect.client import ChannelBuilder
    from pyspark.sql.connect.session import SparkSession as ConnectSession

    class Builder(ChannelBuilder):
        host = str(socket)

        def toChannel(self) -> Any:  # noqa: N802 - PySpark's name
            return self._insecure_channel(f"unix:{socket}")

    # gRPC would make an authority of the path, which servers in Rust refuse as malformed.
    authority = [("grpc.default_authority", "localhost")]
    os.environ["SPARK_CONNECT_MODE_ENABLED"] = "1"  # functions of PySpark make expressions for it
    channel: Any = Builder(authority)  # that PySpark declares another class is no matter
    spark: Any = ConnectSession.builder.channelBuilder(channel).create()
    client = spark.client
    client.set_retry_policies([])
    return cast("SparkSession", spark)


def end_jvm() -> None:
    """End the JVM that this process started, and wait until it has ended."""
    gateway: Any = SparkContext._gateway  # noqa: SLF001
    gateway.proc.stdin.close()
    gateway.proc.wait()
    gateway.shutdown()
    SparkContext._gateway = SparkContext._jvm = None  # noqa: SLF001


@contextmanager
def worker_variable(spark: SparkSession, name: str, value: str) -> Iterator[None]:
    """Set an environment variable of the Python workers; Spark pools workers by their environment."""
    spark.sparkContext.environment[name] = value
    try:
        yield
    finally:
        del spark.sparkContext.environment[name]


def log_queries_to(log: Path) -> None:
    """Write to a file what PySpark logs of failed queries: it prints their JVM stacks otherwise."""
    for name in _QUERY_LOGGERS:
        logger = PySparkLogger.getLogger(name)
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
        logger.addHandler(logging.FileHandler(log, delay=True))
        logger.propagate = False
