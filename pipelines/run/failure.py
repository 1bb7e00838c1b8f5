"""What becomes of a run that fails: an event, a bill and a report, and scratch files that are removed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pyspark.sql import SparkSession

from millrace.pipelines.console.error_text import one_line, without_values
from millrace.pipelines.console.progress import Progress
from millrace.pipelines.job.prepared_job import PreparedJob
from millrace.pipelines.lake import runs
from millrace.pipelines.lake.runs import Clock, Run
from millrace.pipelines.query import committed_rows
from millrace.pipelines.reporting.run_pages import write_report, write_rule_pages
from millrace.pipelines.run.bookkeeping import SessionResources, close_attempt
from millrace.pipelines.spark.error_translation import translated
from millrace.pipelines.spark.event_log import settle
from millrace.schemas.errors import BudgetExceeded, GateRefused

_STATES = {GateRefused: "refused", BudgetExceeded: "stopped", KeyboardInterrupt: "stopped"}


@contextmanager
def recorded_failure(
    spark: SparkSession,
    prepared: PreparedJob,
    run: Run,
    resources: SessionResources,
    progress: Progress,
    now: Clock,
) -> Iterator[None]:
    """Record an error inside as an event of the run, price the attempt, write the report, and raise it.

    Where recording fails too, Spark itself may be gone: the first error is the one that is raised.
    """
    try:
        with translated(prepared.lake.spark_log), scratch_removed(run):
            yield
    except BaseException as error:
        run.driver.may_commit()  # else the run, its events and its bill are another driver's
        with suppress(Exception):
            settle(spark, resources.log, run.run_id)
        try:
            _record(prepared, run, resources, error, progress, now)
        except Exception as other:  # noqa: BLE001 - the first error counts
            what = "  the run's end could not be written: "
            text = f"{what}{one_line(other)[:200]}"
            progress.say(text, logged=f"{what}{without_values(other)}")
        raise


@contextmanager
def scratch_removed(run: Run) -> Iterator[None]:
    """Remove the run's scratch folders at the end, and before: a killed attempt leaves its own."""
    run.driver.begin()
    try:
        yield
    finally:
        run.driver.end()


def _record(
    prepared: PreparedJob,
    run: Run,
    resources: SessionResources,
    error: BaseException,
    progress: Progress,
    now: Clock,
) -> None:
    lake, closed = prepared.lake, now()
    state = next((state for kind, state in _STATES.items() if isinstance(error, kind)), "failed")
    committed = committed_rows.of_run(lake, prepared.predictions.name, run.run_id)
    if state == "stopped":
        error.add_note(f"run {run.run_id}: {committed}")
    progress.tell("run", state, level="error", detail=without_values(error))
    columns = {"detail": one_line(error), "books_closed_at": closed, **committed.columns}
    run = runs.append_event(lake, run, state, closed, **columns)
    close_attempt(prepared, run, resources, closed)
    if state == "refused":  # else they were written while the first unit was scored
        write_rule_pages(lake, run.run_id, progress)
    write_report(lake, run.run_id, progress)
