"""The end of an attempt: what was committed is counted, what was held is priced, and both are checked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from pipelines import gates, ledger, runs, sink
from pipelines.closings import closings
from pipelines.command_session import logs
from pipelines.gates import Books, Gate
from pipelines.ledger import Counted
from pipelines.progress import Progress
from pipelines.runs import Run
from pipelines.saved import Saving, saving_of
from pipelines.task_times import EventLog
from pipelines.validate import Verdict
from pipelines.work import Work
from schemas import tables
from schemas.summary import Summary


@dataclass(frozen=True)
class Held:
    """What this attempt holds: the log that tells of it, where there is one, and its slots."""

    log: EventLog | None
    slots: int


def account(
    work: Work,
    run: Run,
    held: Held,
    verdict: Verdict,
    units: int,
    closed: datetime,
    progress: Progress,
) -> Summary:
    """Close the books of a run that is done; its totals."""
    with progress.waiting("accounting"):
        counted = ledger.counted(work.lake, work.predictions.name, run.run_id)
        ended = counted.scored + counted.failed + verdict.quarantined
        books = close(work, run, held, counted, closed, rows=(verdict.rows, ended))
        found = gates.gates(books)
        saving = _saved(work, run, counted, books)
        drawn = ledger.drawn_of(books.rows)
    return Summary(
        run_id=run.run_id,
        state=runs.DONE,
        fingerprint=work.fingerprint,
        lake=str(work.lake),
        rows_read=verdict.rows,
        scored=counted.scored,
        quarantined=verdict.quarantined,
        failed=counted.failed,
        units_done=units,
        units_total=units,
        model_load_s=round(sum(meter["load_s"] for meter in counted.meters), 3),
        cost=ledger.cost_of(books.rows),
        currency=work.rate.currency if work.rate else None,
        energy_wh=drawn.wh,
        energy_wh_low=drawn.wh_low,
        energy_wh_high=drawn.wh_high,
        carbon_g=drawn.carbon_g,
        ledger_coverage=gates.coverage(books),
        books_closed=gates.are_closed(found),
        gates=found,
        saved_rows=saving.rows,
        saved_s=saving.seconds,
        saved_cost=saving.cost,
        warnings=tuple(_warnings(work, books, found)),
    )


def _saved(work: Work, run: Run, counted: Counted, books: Books) -> Saving:
    """What rows that were not computed would have cost: in the ledger, in no sum."""
    computed = sum(meter["rows"] for meter in counted.meters)
    saving = saving_of(work, run, counted.scored + counted.failed, computed, books.rows)
    if saving.records:
        sink.append_values(saving.records, work.lake, tables.LEDGER, f"{run.transaction()}:saved")
    return saving


def close_attempt(work: Work, run: Run, held: Held, closed: datetime) -> None:
    """Price what an attempt held that was stopped, refused or failed; a later one finds that told."""
    counted = Counted(0, 0, ())
    if (work.lake / work.predictions.name).exists():
        counted = ledger.counted(work.lake, work.predictions.name, run.run_id)
    close(work, run, held, counted, closed)


def close(
    work: Work,
    run: Run,
    held: Held,
    counted: Counted,
    closed: datetime,
    rows: tuple[int | None, int | None] = (None, None),
) -> Books:
    """Append to the ledger what it does not have of the run's attempts yet; all that it has then."""
    events = runs.events(work.lake, run.run_id)
    application = held.log.application if held.log else run.application
    mine = [meter["task_id"] for meter in counted.meters if meter["application"] == application]
    before = ledger.of_run(work.lake, run.run_id)
    told = closings(
        run.run_id,
        runs.closed_at(events, closed),
        held.log.path.parent if held.log else logs(work.lake),
        current=held.log,
        slots=held.slots,
        wanted=mine,
        charged_until=ledger.charged_until(before),
    )
    tags = work.settings.get("tags", {})
    every = ledger.rows_of(counted.meters, told, work.rate, run.run_id, run.job, tags)
    new = ledger.not_yet_told(every, before)
    sink.append_values(new, work.lake, tables.LEDGER, f"{run.transaction()}:{run.events}")
    return Books([*before, *new], told, counted.meters, work.rate, *rows)


def _warnings(work: Work, books: Books, found: tuple[Gate, ...]) -> Iterator[str]:
    """What a user should know beside the totals."""
    if not all(closing.is_measured for closing in books.closings):
        yield "the ledger has the meters alone: Spark's task times could not be read"
    for gate in found:
        if gate.passed is False:
            yield f"the books do not close: {gate.name}: {gate.got}, and it must be {gate.allowed}"
    cost = ledger.cost_of(books.rows)
    budget = work.job.cost.budget if work.job.cost else None
    if budget is not None and cost is not None and cost > budget:
        yield f"the run cost more than its budget of {budget}: its last unit took longer than foreseen"
