"""The only place that builds a SparkSession; it keeps log output off the terminal."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from pyspark.sql import SparkSession

from millrace.pipelines.spark import class_data_sharing, connect, embedded, machine_check
from millrace.pipelines.spark.pyspark_internals import end_jvm, log_queries_to
from millrace.pipelines.spark.session_settings import DEFAULTS, JAVA_OPTIONS, local_settings

_HELD_SINCE = "spark.millrace.heldSince"


def open_session(
    app_name: str,
    log_dir: Path,
    settings: Mapping[str, str] | None = None,
    *,
    master: str | None = None,
    preload: Sequence[str] = (),
    meanwhile: Callable[[], object] = lambda: None,
    first: Callable[[SparkSession], object] | None = None,
) -> SparkSession:
    """Return a session with Delta Lake, whose JVM logs to ``log_dir/spark.log``.

    Args:
        app_name: The application's name in Spark.
        log_dir: The folder of Spark's log and event log.
        settings: Override the defaults.
        master: Without it, spark-submit's or the environment's; else one slot a core, 4 attempts a task.
        preload: Modules that the workers' fork server imports.
        meanwhile: Called once while Spark starts.
        first: Gets the session of a new JVM in a thread that is not awaited; it must import nothing.
    """
    machine_check.check_java()
    log_dir.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    submitted = "PYSPARK_GATEWAY_PORT" in os.environ  # spark-submit has started the JVM already
    if url := connect.remote():
        return _open_remote(url, log_dir, settings or {}, meanwhile)
    where = master or os.environ.get("MASTER") or f"local[{os.cpu_count()},4]"
    chosen = dict(DEFAULTS) if submitted else {**DEFAULTS, **local_settings(where, preload)}
    chosen["spark.eventLog.dir"] = log_dir.absolute().as_uri()
    builder = SparkSession.builder.appName(app_name)
    if not submitted:
        builder = builder.master(where)
        chosen |= {"spark.master": where, "spark.app.name": app_name}
    chosen |= settings or {}
    for key, value in chosen.items():
        builder = builder.config(key, value)
    with (
        _terminal_into(log_dir / "spark.log", when=not submitted),
        _leaving() as starter,
    ):
        # Python only waits for the JVM: imports run meanwhile.
        started = starter.submit(_started, builder)
        if first is not None and not submitted:
            starter.submit(lambda: first(started.result()))
        meanwhile()
        spark = started.result()
    _log_python_to(log_dir / "spark.log")
    return spark


def embedded_session(
    log_dir: Path,
    settings: Mapping[str, str] | None,
    meanwhile: Callable[[], object],
    preload: Sequence[str],
) -> SparkSession:
    """Return a session of the embedded engine, which logs to ``log_dir/spark.log``."""
    log_dir.mkdir(parents=True, exist_ok=True)
    spark = embedded.open_embedded(log_dir, settings or {}, meanwhile, preload)
    _log_python_to(log_dir / "spark.log")
    return spark


@contextmanager
def _leaving() -> Iterator[ThreadPoolExecutor]:
    """Yield a thread that completes its work after the block."""
    pool = ThreadPoolExecutor(1)
    try:
        yield pool
    finally:
        pool.shutdown(wait=False)


def _started(builder: SparkSession.Builder) -> SparkSession:
    """Return the session, initialised by a first query of its settings."""
    spark: SparkSession = builder.getOrCreate()
    spark.sparkContext.setLogLevel("WARN")
    spark.conf.get("spark.sql.session.timeZone")
    return spark


def _open_remote(
    url: str, log_dir: Path, settings: Mapping[str, str], meanwhile: Callable[[], object]
) -> SparkSession:
    meanwhile()
    spark = connect.open_remote(url, DEFAULTS, settings)
    _log_python_to(log_dir / "spark.log")
    return spark


def held_from(spark: SparkSession, since: datetime) -> None:
    """Charge the session's first run for its machines since then: nobody else wanted them."""
    spark.conf.set(_HELD_SINCE, since.isoformat())


def held_since(spark: SparkSession) -> datetime | None:
    """Return the time of `held_from`, once; None if it was not called."""
    since = spark.conf.get(_HELD_SINCE, None)
    if since is None:
        return None
    spark.conf.unset(_HELD_SINCE)
    return datetime.fromisoformat(since)


def _log_python_to(log: Path) -> None:
    """Write what Python's libraries log and warn of to a file: the terminal shows the run's progress.

    A process with handlers of its own keeps them.
    """
    root = logging.getLogger()
    if not root.handlers:
        # Opened at once: a log whose folder is gone could not be opened when something is logged.
        root.addHandler(logging.FileHandler(log))
        logging.captureWarnings(True)
    log_queries_to(log)


@contextmanager
def _terminal_into(log: Path, *, when: bool) -> Iterator[None]:
    """While open, processes started here get ``log`` as their standard output and error."""
    if not when:
        yield
        return
    sys.stdout.flush()
    sys.stderr.flush()
    copies = os.dup(1), os.dup(2)
    with log.open("ab") as sink:
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, copy in enumerate(copies, start=1):
                os.dup2(copy, number)
                os.close(copy)


def prepare_machine(folder: Path) -> None:
    """Fetch Delta's JARs and archive the JVM's classes, so that no run has to wait for either."""
    open_session("millrace-setup", folder / "first").stop()
    end_jvm()  # the next session needs one of its own
    class_data_sharing.path().unlink(missing_ok=True)
    spark = open_session(
        "millrace-setup", folder / "second", class_data_sharing.making(JAVA_OPTIONS)
    )
    class_data_sharing.use_classes(spark, folder)
    spark.stop()
    end_jvm()  # it writes the archive when it ends


if __name__ == "__main__":  # `make setup`
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        prepare_machine(Path(scratch))
