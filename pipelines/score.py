"""The story of a run, top to bottom; also what spark-submit starts."""

from __future__ import annotations

import argparse
import json
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from pyspark.sql import SparkSession

from pipelines import (
    budget,
    candidates,
    console,
    data_docs,
    index_page,
    json_log,
    loop,
    place,
    report,
    reuse,
    runs,
    store,
    units,
    validate,
    validation_page,
    workers,
)
from pipelines.account import Held, account, close_attempt
from pipelines.beside import beside
from pipelines.calibrate import Way, way_of
from pipelines.claim import LEASE, Lease, claimed
from pipelines.command_session import process_began, session_for, spark_log
from pipelines.commits import Commits
from pipelines.driver import Driver
from pipelines.faults import translated
from pipelines.gates import as_json
from pipelines.observing import observed
from pipelines.progress import Progress
from pipelines.runs import Clock, Run
from pipelines.session import held_since
from pipelines.signals import stop_at_signals
from pipelines.steps import validate_rows
from pipelines.tally import Tally
from pipelines.task_times import EventLog, settle
from pipelines.validate import Verdict
from pipelines.watch import watch_of
from pipelines.work import Work, prepare
from schemas import ids
from schemas.config import Job
from schemas.errors import BudgetExceeded, GateRefused, MillraceError
from schemas.summary import Summary
from schemas.tables import QUARANTINE
from schemas.yaml_file import load
from udfs.failpoint import reached

_STATES = {GateRefused: "refused", BudgetExceeded: "stopped", KeyboardInterrupt: "stopped"}


def utc_now() -> datetime:
    """The time."""
    return datetime.now(UTC)


def nonce() -> str:
    """What tells two runs of the same fingerprint apart."""
    return secrets.token_hex(3)


def run(  # noqa: PLR0913 - what it takes from outside has defaults: clock, ids, lease, preparation
    spark: SparkSession,
    job: Job,
    progress: Progress,
    *,
    fresh: bool = False,
    now: Clock = utc_now,
    nonce: Callable[[], str] = nonce,
    lease: Lease = LEASE,
    prepare: Callable[[SparkSession, Job], Work] = prepare,
) -> Summary:
    """Run the job, or what is left of it; ``fresh``: all of it once more, as a run of its own.

    ``prepare`` gives the work: over the whole input, or the rows that a replay takes up. Raises
    MillraceError; what was committed stays committed.
    """
    started, began = time.monotonic(), held_since(spark) or now()
    with translated(spark_log(job)):
        held = Held(EventLog.of(spark), place.slots(spark))
        with progress.waiting("checking the model, the prices and the input"):
            work = prepare(spark, job)
        progress.say(f"  lake: {store.guarantee(job.output.path)}")
        with claimed(
            work.lake, work.fingerprint, job.name, watch=progress.say, lease=lease
        ) as claim:
            run, done = _claimed(spark, work, (began, now()), nonce, fresh=fresh)
            if done:
                return done
            by = Driver.at(work.lake, run.run_id, claim.holder.token, claim.check)
            run = replace(run, driver=by)
            progress.about(run.run_id)
            progress.tell("run", "resumed" if run.events > 1 else "started", job=job.name)
            if run.events > 1:
                progress.say(f"  run {run.run_id} goes on where it stopped")
            with observed(work, run, progress, now) as untold:
                with _told_if_it_fails(spark, work, run, held, progress, now):
                    summary, way, closed = _scored(spark, work, run, held, progress, now)
                reached("before_done")
                summary = replace(summary, wall_s=round(time.monotonic() - started, 3))
                settings = json.dumps(work.settings | way.settings, sort_keys=True)
                totals = runs.totals(summary) | {
                    "settings": settings,
                    "gates": as_json(summary.gates),
                    "forecast": summary.forecast and json.dumps(summary.forecast),
                    "books_closed_at": closed,
                }
                runs.tell(work.lake, run, runs.DONE, now(), **totals)
                progress.tell("run", runs.DONE, **runs.totals(summary))
                summary = replace(summary, report=_report(work, run, progress))
            return replace(summary, warnings=(*summary.warnings, *untold))


def _scored(
    spark: SparkSession,
    work: Work,
    run: Run,
    held: Held,
    progress: Progress,
    now: Clock,
) -> tuple[Summary, Way, datetime]:
    """Validate, score and account; the totals, what computed them, and when the books were closed."""
    work = candidates.taken_up(spark, work, run, progress, now)
    # What a replay takes up was refused before: it is like no run's input.
    watch = watch_of(spark, work, run) if work.replays is None else None
    with beside(spark, 2) as submit:
        finding = submit(way_of, spark, work, run.run_id, now())
        submit(_warm_when_found, spark, work, run.run_id, finding)
        repeated, verdict = validate_rows(spark, work, run, progress, now)
        validate.gate(verdict if work.replays is None else _of_refused_rows(verdict))
        submit(_rule_pages, work, run, progress)
        told = watch.input_warnings(progress, now(), is_kept=True) if watch else []
        with progress.waiting("measuring ways to compute, beside validation"):
            way = finding.result()
        at = loop.Pass(
            spark, work, run, repeated, way, verdict.rows, now,
            reuse=reuse.reuse_of(spark, work, run, way),
            purse=budget.purse_of(spark, work, run, way, now), watch=watch,
            tally=Tally(quarantined=verdict.quarantined),
        )  # fmt: skip
        every = loop.planned(at)
        infer_s = loop.score_units(at, every, progress)
    told += watch.output_warnings(now()) if watch else []
    candidates.tell_outcomes(spark, work, run, progress, now)
    reached("before_ledger")
    run.driver.may_commit()
    settle(spark, held.log, run.run_id)
    closed = now()
    summary = account(work, run, held, verdict, len(every), closed, progress)
    summary = replace(
        summary,
        warnings=(*summary.warnings, *told),
        infer_s=infer_s,
        backend=way.runtime.backend,
        precision=way.runtime.precision,
        computed_so_because=way.why,
        forecast=at.purse.forecast,
    )
    return summary, way, closed


def _of_refused_rows(verdict: Verdict) -> Verdict:
    """The verdict on a replay: each of its rows was refused before, so only an unknown shuts the gate."""
    unknown = tuple(result for result in verdict.results if result.rule in verdict.uncomputed)
    return replace(verdict, results=unknown, max_quarantined=1.0)


def _warm_when_found(spark: SparkSession, work: Work, run_id: str, finding: Future[Way]) -> None:
    """Warm the workers. Whatever hinders that will hinder scoring, and is told there."""
    with suppress(Exception):
        workers.warm(spark, work, run_id, finding.result())


def check(spark: SparkSession, job: Job, progress: Progress, *, now: Clock = utc_now) -> Verdict:
    """Validation and gate only: refused rows and results are written, nothing is scored."""
    with translated(spark_log(job)):
        with progress.waiting("checking the model, the prices and the input"):
            work = prepare(spark, job)
        run = replace(_new_run(work, nonce()), fingerprint=f"validate:{work.fingerprint}")
        watch = watch_of(spark, work, run)
        with _without_traces(run):
            _, verdict = validate_rows(spark, work, run, progress, now)
            for warning in watch.input_warnings(progress, now(), is_kept=False) if watch else []:
                progress.say(f"  {warning}", logged=warning.partition("; ")[0])  # no categories
        if page := _rule_pages(work, run, progress):
            progress.say(f"  page      {page}")
    return verdict


def _new_run(work: Work, nonce: str, series: int = 0) -> Run:
    facts = runs.facts(
        work.pinned.summary(),
        work.model.card.title,
        work.model.digest,
        work.settings,
        work.rate.as_json() if work.rate else None,
        work.replays.run_id if work.replays else None,
    )
    name = ids.run_id(work.job.name, work.fingerprint, nonce)
    alone = Driver.at(work.lake, name)
    return Run(name, work.fingerprint, work.job.name, facts, alone, series=series)


def _claimed(
    spark: SparkSession,
    work: Work,
    times: tuple[datetime, datetime],
    nonce: Callable[[], str],
    *,
    fresh: bool,
) -> tuple[Run, Summary | None]:
    """The run that this fingerprint has or gets, and its summary where it is done already.

    ``times``: since when machines are held for it, and now.
    """
    began, at = times
    before = runs.last_event(work.lake, work.fingerprint)
    application = place.application(spark)
    if before is None or (fresh and before["state"] == runs.DONE):
        run = _new_run(work, nonce(), 0 if before is None else before["series"] + 1)
        number = runs.next_number(work.lake, work.job.name)
        run = replace(run, number=number, application=application)
        return runs.tell(work.lake, run, "started", at, held_since=began), None
    run = replace(
        _new_run(work, nonce(), before["series"]),
        run_id=before["run_id"],
        events=before["event"] + 1,
        number=before["number"],
        application=application,
    )
    if before["state"] == runs.DONE and not _lost_rows(work, run):
        return run, runs.summary_of(before, work.lake, report.path_of(work.lake, run.run_id))
    return runs.tell(work.lake, run, "resumed", at, held_since=began), None


def _lost_rows(work: Work, run: Run) -> bool:
    """Whether a table was restored to before what this run committed to it."""
    history = Commits.of(work.lake, work.predictions.name)
    return Commits.of(work.lake, QUARANTINE.name).lost(run.transaction()) or any(
        history.lost(run.transaction(number)) for number in range(units.count(work.lake, run))
    )


@contextmanager
def _told_if_it_fails(
    spark: SparkSession, work: Work, run: Run, held: Held, progress: Progress, now: Clock
) -> Iterator[None]:
    """What fails inside becomes an event of the run, a bill and a report, and is raised all the same."""
    try:
        with translated(spark_log(work.job)), _without_traces(run):
            yield
    except BaseException as error:
        run.driver.may_commit()  # else the run, its events and its bill are another driver's
        state = next((told for kind, told in _STATES.items() if isinstance(error, kind)), "failed")
        with suppress(Exception):  # Spark itself may be what is gone
            settle(spark, held.log, run.run_id)
        try:
            closed = now()
            told = {"detail": _one_line(error), "books_closed_at": closed}
            progress.tell("run", state, level="error", detail=_unquoted(error))
            run = runs.tell(work.lake, run, state, closed, **told)
            close_attempt(work, run, held, closed)
            if state == "refused":  # else they were made beside the first unit
                _rule_pages(work, run, progress)
            _report(work, run, progress)
        except Exception as other:  # noqa: BLE001 - Spark itself may be what is gone: the first error counts
            what = "  the run's end could not be written: "
            progress.say(f"{what}{_one_line(other)[:200]}", logged=f"{what}{_unquoted(other)}")
        raise


@contextmanager
def _without_traces(run: Run) -> Iterator[None]:
    """Scratch folders of the run are removed at the end, and before: a killed attempt leaves them."""
    run.driver.begin()
    try:
        yield
    finally:
        run.driver.end()


def _report(work: Work, run: Run, progress: Progress) -> str | None:
    """Where the run's report is."""
    later = f"; later: millrace report {run.run_id} --lake {work.lake}"
    path = _page("report", report.write, work, run, progress, later)
    _page("page about all runs", lambda lake, _: index_page.write(lake), work, run, progress)
    return None if path is None else str(path)


def _rule_pages(work: Work, run: Run, progress: Progress) -> Path | None:
    """Where the page about the run's rules is. Great Expectations' own pages are made beside it."""
    _page("Data Docs", data_docs.write, work, run, progress)
    return _page("page about the rules", validation_page.write, work, run, progress)


def _page(
    what: str,
    write: Callable[[Path, str], Path | None],
    work: Work,
    run: Run,
    progress: Progress,
    later: str = "",
) -> Path | None:
    """Where a page is. What is committed stays so, and what failed is told, without it too."""
    try:
        return write(work.lake, run.run_id)
    except (MillraceError, OSError) as error:
        progress.say(f"  no {what}: {error}{later}", logged=f"no {what}: {_unquoted(error)}{later}")
        return None


def _one_line(error: BaseException) -> str:
    """As the table runs has it; of an error that is not Millrace's the text is what was got."""
    text = str(error)
    if text and not isinstance(error, MillraceError):
        text = str(MillraceError("the driver failed", got=text))
    return f"{type(error).__name__}: {text}"[:2000]


def _unquoted(error: BaseException) -> str:
    """The error without what it may quote of a row: of one that is not Millrace's, its kind."""
    if isinstance(error, MillraceError):
        return _one_line(error.unquoted())
    return type(error).__name__


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one job file, as ``millrace run`` does; the exit code. This is what spark-submit starts."""
    parser = argparse.ArgumentParser(prog="pipelines/score.py", description=main.__doc__)
    parser.add_argument("job_file", type=Path)
    parser.add_argument(
        "--set", action="append", default=[], metavar="A.B=C", help="override a key of the job file"
    )
    parser.add_argument("--fresh", action="store_true", help="score all of it again, as a new run")
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    parser.add_argument("--log", choices=json_log.FORMS, help="what progress is told as")
    asked = parser.parse_args(arguments)
    json_log.ask(asked.log)
    stop_at_signals()
    try:
        job = load(asked.job_file, Job, overrides=asked.set)
        with session_for(job, held_since=process_began()) as spark:
            summary = run(spark, job, Progress.of_command(quiet=asked.json), fresh=asked.fresh)
    except MillraceError as error:
        return console.print_error(error, as_json=asked.json)
    except KeyboardInterrupt:
        return console.print_error(console.stopped(), as_json=asked.json)
    console.print_summary(summary, as_json=asked.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
