"""The inference pass: the units that are left, two at a time, each committed once and counted."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import asdict, dataclass, field, replace
from functools import partial

from pyspark.sql import DataFrame, SparkSession

from pipelines import infer, ingest, ledger, place, runs, sink, units
from pipelines.beside import beside
from pipelines.budget import Purse
from pipelines.calibrate import Way
from pipelines.commits import Commits
from pipelines.marks import Mark, marked
from pipelines.patience import patient
from pipelines.pinning import check_unchanged
from pipelines.progress import Progress
from pipelines.reuse import NOTHING, Reuse
from pipelines.runs import Clock, Run
from pipelines.sweep import sweeping
from pipelines.tally import Spent, Tally, Tasks
from pipelines.task_times import tagged
from pipelines.units import Unit
from pipelines.watch import Watch
from pipelines.work import Work
from pipelines.workers import Task, scorer
from schemas.errors import TooManyFailed
from udfs.failpoint import reached
from udfs.sizing import Ceilings

# The second fills the slots that the first one's slowest tasks leave: Spark gives them to the older job
# first. Fair pools would share them, and both units would be late.
AT_ONCE = 2
TASKS_A_SLOT = 4  # at most, where files are small and many
ROWS_A_TASK = (
    4096  # at least, where there are many small files: as many as the engine orders at a time
)
_FEW = 32  # rows that may fail in any run, however small


@dataclass(frozen=True)
class Pass:
    """What scoring needs to know of a run, the same for all of its units."""

    spark: SparkSession
    work: Work
    run: Run
    repeated: dict[str, Mark]  # of each rule that is not one row's predicate, what breaks it
    way: Way
    rows: int  # in the whole input
    now: Clock
    ceilings: Ceilings = field(default_factory=Ceilings)  # of memory, by what computes
    purse: Purse = field(default_factory=Purse)
    reuse: Reuse = NOTHING
    watch: Watch | None = None  # None: the job measures nothing
    tally: Tally = field(default_factory=Tally)  # how far it is, for those who watch

    @property
    def may_fail(self) -> int:
        """Rows of the run that may have no prediction before it is given up."""
        return max(_FEW, math.ceil(self.work.job.run.max_failed * self.rows))


def cut_units(spark: SparkSession, work: Work, way: Way) -> list[Unit]:
    """Units of about `unit_minutes` at the speed that is known now."""
    slots = place.slots(spark)
    per_s = way.rows_per_s and way.rows_per_s * slots
    per_s = per_s or runs.rows_per_s(work.lake, work.job.name, work.model.digest)
    return units.cut(work.pinned, 60 * work.job.run.unit_minutes, per_s, work.expected_rows)


def planned(at: Pass) -> list[Unit]:
    """The run's units: as an earlier attempt planned them, or for the speed that is known now."""
    return units.planned(at.work.lake, at.run, cut_units(at.spark, at.work, at.way), at.now())


def _names(at: Pass, every: Sequence[Unit]) -> dict[int, str]:
    """By number, the transaction that each unit is committed under."""
    history = Commits.of(at.work.lake, at.work.predictions.name)
    return {unit.number: history.name(at.run.transaction(unit.number)) for unit in every}


def score_units(at: Pass, every: Sequence[Unit], progress: Progress) -> float:
    """Score and commit the units that no earlier attempt committed; the seconds that took.

    Raises TooManyFailed or BudgetExceeded between units, and whatever stops a unit; the others stay
    committed.
    """
    started, runtime = time.monotonic(), at.way.runtime
    known = units.too_large(at.work.lake, at.way.computed_with)
    if known is not None:
        at.ceilings.failed(at.way.computed_with, known)
    names = _names(at, every)
    left, failed = _left(at, every, names)
    _check(at, failed)  # an attempt that was given up for them is not done because it is run again
    before = len(every) - len(left)
    if before:
        progress.say(f"  {before} of {len(every)} units are committed: they are not scored again")
    if not left:
        return 0.0
    if told := at.purse.begin(sum(unit.expected_rows for unit in left)):
        progress.say(told)
    progress.say(f"  computing with {runtime.backend} {runtime.precision}: {at.way.why}")
    if at.reuse.why:
        told = "are computed once" if at.reuse.dedupe else "are computed each"
        progress.say(f"  identical rows {told}: {at.reuse.why}")
    _count_in(at, every, left, failed)
    title = f"scoring with {at.work.model.card.title}"
    with (
        patient(at.spark, at.work, at.way),
        sweeping() as sweep,
        progress.step(at.spark, at.run.run_id, "infer", title, at.tally),
    ):
        for unit, rows in _each(at, left, names):
            failed += rows
            at.tally.ends(unit.number, unit.expected_rows, rows)
            progress.tell("unit", "committed", unit=unit.number, **at.tally.facts(Tasks()))
            _check(at, failed)
            sweep()
    return round(time.monotonic() - started, 3)


def _count_in(at: Pass, every: Sequence[Unit], left: Sequence[Unit], failed: int) -> None:
    """Tell the tally what is ahead, what earlier attempts did, and where the money is counted."""
    tally, purse = at.tally, at.purse
    tally.rows_total = float(sum(unit.expected_rows for unit in left))
    tally.units_total, tally.units_done = len(every), len(every) - len(left)
    tally.failed, tally.began = failed, time.monotonic()
    if purse.second is not None:
        tally.spent = lambda rows: Spent(purse.spent, purse.end(rows), purse.budget, purse.currency)


def _left(at: Pass, every: Sequence[Unit], names: dict[int, str]) -> tuple[list[Unit], int]:
    """The units that are not committed, and the failed rows of those that are."""
    there = sink.transactions(at.work.lake, at.work.predictions.name, names.values())
    told = units.failures(at.work.lake, at.run)
    left, failed = [], 0
    for unit in every:
        name = names[unit.number]
        if name not in there:
            left.append(unit)
            continue
        # A driver may have died between the commit and its telling, or its keeping.
        failed += told[name] if name in told else _told(at, unit, name, 0.0)
        _kept(at, unit, name)
    return left, failed


def _check(at: Pass, failed: int) -> None:
    if failed > at.may_fail:
        raise TooManyFailed(
            f"{failed:,} rows could not be scored",
            got=f"{failed / max(1, at.rows):.1%} of {at.rows:,} rows",
            allowed=f"run.max_failed {at.work.job.run.max_failed:.1%}",
            next="look at error in the predictions; then raise run.max_failed and run again",
        )


def _each(at: Pass, left: Sequence[Unit], names: dict[int, str]) -> Iterator[tuple[Unit, int]]:
    """Each unit with its failed rows, as they are committed. Raises BudgetExceeded between units."""
    rest, purse = list(left), at.purse
    with beside(at.spark, AT_ONCE) as submit:
        running: dict[Future[int], tuple[Unit, float]] = {}
        while rest or running:
            while rest and len(running) < AT_ONCE:
                beside_rows = [unit.expected_rows for unit, _ in running.values()]
                if not purse.admits(rest[0].expected_rows, beside_rows):
                    break
                unit = rest.pop(0)
                running[submit(_scored, at, names, unit)] = unit, purse.held_s()
                at.tally.begins(unit.number, unit.expected_rows)
            if not running:
                raise purse.stop(rest[0].expected_rows, len(rest))
            for one in wait(running, return_when=FIRST_COMPLETED).done:
                unit, started_s = running.pop(one)
                failed = one.result()
                purse.finished(unit.expected_rows, started_s)
                yield unit, failed


def _scored(at: Pass, names: dict[int, str], unit: Unit) -> int:
    """Score and commit one unit; its failed rows."""
    at.run.driver.may_commit()
    by = at.run.driver.only_if(partial(check_unchanged, unit.pinned))
    started, work, name = time.monotonic(), at.work, names[unit.number]
    with tagged(at.spark, at.run.run_id, "infer", unit.number):
        rows = marked(work.rows(at.spark, unit.pinned), at.repeated)
        accepted = infer.accepted(rows, work.rules, work.job, work.model)
        too_large = at.ceilings.least(at.way.computed_with)
        task = Task(at.run.driver.folder, unit.number, at.may_fail, too_large)
        scoring = scorer(at.spark, work, at.way, task)
        scoring = replace(scoring, plan=at.reuse.plan(scoring.plan))
        made = infer.scored(
            _spread(at, unit, accepted), work.job, work.contract, work.model, scoring
        )
        named = infer.with_run(
            made, work.predictions, at.run.run_id, unit.number, work.model, at.now()
        )
        staged = None
        if at.watch is not None:
            staged = at.watch.staged(named, unit.number, unit.expected_rows)
    with tagged(at.spark, at.run.run_id, "infer" if staged is None else "write", unit.number):
        reached("before_commit")
        made = named if staged is None else staged
        sink.append(made, work.lake, work.predictions, name, by)
    reached("after_commit")
    failed = _told(at, unit, name, time.monotonic() - started)
    _kept(at, unit, name)
    return failed


def _kept(at: Pass, unit: Unit, name: str) -> None:
    """Keep what a committed unit computed for later ones, and its profile, where the job asks for that."""
    if at.watch is not None:
        at.watch.keep(unit.number, unit.expected_rows, name, at.now())
    at.reuse.keep(at.spark, at.run, unit.number, (at.work.predictions, name), at.now())


def _told(at: Pass, unit: Unit, name: str, seconds: float) -> int:
    """Tell that a unit is committed; its failed rows."""
    lake, computed_with = at.work.lake, at.way.computed_with
    counted = ledger.unit_counted(lake, at.work.predictions.name, at.run.run_id, unit.number)
    if counted.too_large is not None:
        at.ceilings.failed(computed_with, counted.too_large)
    told = {**asdict(counted), "computed_with": computed_with}
    units.finished(lake, at.run, unit, name, seconds, at.now(), **told)
    return counted.failed


def _spread(at: Pass, unit: Unit, accepted: DataFrame) -> DataFrame:
    """The rows over the slots: a task has enough of them to order by length, and no slot waits for long.

    Of few files Spark makes a task a slot, and the one with longer texts ends later. Four tasks a slot
    were tried: what they gained in balance they lost in padding, having fewer rows to order.

    One task reads a file that Python parses, however many cores wait; and a Python that reads in the
    stage that scores would be a second worker a slot.
    """
    work, slots = at.work, place.slots(at.spark)
    if at.reuse.is_on:
        tasks = max(slots, min(TASKS_A_SLOT * slots, unit.expected_rows // ROWS_A_TASK))
        inputs = tuple(work.model.card.signature.inputs)
        return at.reuse.gathered(accepted, inputs, tasks, at.now())
    if ingest.reads_in_python(work.job.source):
        return accepted.repartition(max(len(unit.pinned.files), slots))
    tasks = max(TASKS_A_SLOT * slots, unit.expected_rows // ROWS_A_TASK)
    return accepted.coalesce(tasks)
