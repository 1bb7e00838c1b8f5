"""What a run would do up to its claim: input, units, state, forecast, rows of a replay; without a write."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from millrace.pipelines.accounting.rates import second
from millrace.pipelines.console.progress import Progress
from millrace.pipelines.inference import run_history
from millrace.pipelines.inference.inference_config import native
from millrace.pipelines.job import size_estimate, work_units
from millrace.pipelines.job.prepared_job import PreparedJob, prepare
from millrace.pipelines.lake import delta, runs
from millrace.pipelines.planning import alternatives
from millrace.pipelines.run import claiming, inference_pass, replay_selection
from millrace.pipelines.run.replay import ReplayRequest, prepare_replay
from millrace.pipelines.spark import cluster
from millrace.schemas.config import Job
from millrace.schemas.html import table
from millrace.schemas.tables import UNITS

NEW, RESUMED, DONE = "new", "resumed", "done"
REPLAYED = "replayed"  # of the rows of a replay: those that it would read into the model


@dataclass(frozen=True)
class ReplayRows:
    """Quarantined rows with one outcome: ``replayed``, or the reason why a replay leaves them out."""

    outcome: str
    keys: int
    rows: int


@dataclass(frozen=True)
class DryRun:
    """What a run would do.

    ``state``: ``new``; ``resumed``, after the units that are committed; or ``done``, then the run would
    score nothing. ``forecast`` has seconds and cost of inference by past runs; None: there are none.
    """

    job: str
    lake: str
    state: str
    run_id: str | None  # of the run that would be resumed, or is done
    fingerprint: str
    model: str
    instance: str | None
    input: dict[str, Any]
    rows: int
    rows_are_exact: bool
    rows_source: str
    units: int
    units_committed: int
    forecast: dict[str, Any] | None = None
    replayed_run: str | None = None
    replay: tuple[ReplayRows, ...] = ()
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return plain values; money as texts."""
        return asdict(self) | {"dry_run": True}

    def _repr_html_(self) -> str:
        names = ["state", "rows", "units", "model", "instance", "lake"]
        values = [self.state, self.rows, self.units, self.model, self.instance, self.lake]
        return table(f"dry run of {self.job}", names, [values])


def of_run(spark: SparkSession, job: Job, progress: Progress, *, fresh: bool = False) -> DryRun:
    """Return what a run of the job would do. Raises UsageError, SchemaMismatch or InputCorrupt."""
    with progress.waiting("checking the model, the prices and the input"):
        prepared = prepare(spark, job)
    event = runs.last_event(prepared.lake, prepared.fingerprint)
    return _found(spark, prepared, None if claiming.is_new(event, fresh=fresh) else event)


def of_replay(spark: SparkSession, job: Job, request: ReplayRequest, progress: Progress) -> DryRun:
    """Return what a replay would do, with its rows. Raises UsageError, SchemaMismatch or InputCorrupt."""
    with progress.waiting("checking the model, the prices and the input"):
        prepared = prepare_replay(spark, job, target=request)
    event = runs.last_event(prepared.lake, prepared.fingerprint)
    with progress.waiting(f"finding the quarantined rows of {request.run_id}"):
        rows = _replay_rows(spark, prepared, event)
    return _found(spark, prepared, event, rows)


def _found(
    spark: SparkSession,
    prepared: PreparedJob,
    event: dict[str, Any] | None,
    replay: tuple[ReplayRows, ...] = (),
) -> DryRun:
    count = size_estimate.counted(prepared.pinned)
    rows, is_exact, source = count.rows, count.is_exact, count.counted_from
    if prepared.replays is not None:
        taken = sum(one.rows for one in replay if one.outcome == REPLAYED)
        rows, is_exact, source = taken, True, "the tables"
    units, committed = _units(spark, prepared, event)
    state, notes = _state(prepared, event)
    forecast = None if state == DONE else _forecast(spark, prepared, rows)
    return DryRun(
        job=prepared.job.name,
        lake=str(prepared.lake),
        state=state,
        run_id=event["run_id"] if event else None,
        fingerprint=prepared.fingerprint,
        model=prepared.model.card.title,
        instance=prepared.rate.instance.sku if prepared.rate else None,
        input=prepared.pinned.summary(),
        rows=rows,
        rows_are_exact=is_exact,
        rows_source=source,
        units=units,
        units_committed=committed,
        forecast=forecast,
        replayed_run=prepared.replays.run_id if prepared.replays else None,
        replay=replay,
        notes=(*notes, *_budget_note(prepared, forecast)),
    )


def _state(prepared: PreparedJob, event: dict[str, Any] | None) -> tuple[str, tuple[str, ...]]:
    if event is None:
        return NEW, ()
    if event["state"] != runs.DONE:
        return RESUMED, ()
    if claiming.has_lost_commits(prepared, event):
        return RESUMED, ("a table was restored since: the run would write its rows again",)
    return DONE, (runs.DONE_ALREADY,)


def _units(
    spark: SparkSession, prepared: PreparedJob, event: dict[str, Any] | None
) -> tuple[int, int]:
    """Return the run's units, as planned or as they would be cut now, and those committed."""
    if event is not None and (
        planned := work_units.count(prepared.lake, claiming.earlier_run(prepared, event))
    ):
        mine = [("run_id", "=", event["run_id"]), ("state", "=", work_units.DONE)]
        return planned, len({row["unit"] for row in delta.values(prepared.lake, UNITS, mine)})
    return len(inference_pass.cut_units(spark, prepared, native(prepared))), 0


def _forecast(spark: SparkSession, prepared: PreparedJob, rows: int) -> dict[str, Any] | None:
    """Return seconds and cost of inference of so many rows, by past runs with this model."""
    past = run_history.past_runs(prepared.lake, prepared.job.name, prepared.model.digest)
    if not past or not rows:
        return None
    slots = cluster.slots(spark)
    seconds = run_history.inference_range(past, slots, rows)
    found: dict[str, Any] = {
        "seconds": {name: round(value, 3) for name, value in asdict(seconds).items()},
        "cost": None,
        "currency": None,
        "basis": f"{len(past)} past run{'s' * (len(past) > 1)}",
    }
    if prepared.rate is not None:
        cost = asdict(seconds.times(float(second(prepared.rate.instance, slots))))
        found["cost"] = {name: f"{alternatives.money(value):f}" for name, value in cost.items()}
        found["currency"] = prepared.rate.currency
    return found


def _budget_note(prepared: PreparedJob, forecast: dict[str, Any] | None) -> tuple[str, ...]:
    budget = prepared.job.cost.budget if prepared.job.cost else None
    if budget is None or prepared.rate is None:
        return ()
    limit = f"cost.budget {budget} {prepared.rate.currency}"
    if forecast is None:
        return (f"{limit}: no past run of this job and model to compare it with",)
    is_above = float(forecast["cost"]["low"]) > budget
    return (f"{limit}: the run would {'stop before it scores' if is_above else 'start'}",)


def _replay_rows(
    spark: SparkSession, prepared: PreparedJob, event: dict[str, Any] | None
) -> tuple[ReplayRows, ...]:
    """Return the rows of the replay by outcome, those that it would score first."""
    begun = None if event is None else claiming.earlier_run(prepared, event)
    run = begun or claiming.new_run(prepared, "dry-run")  # no table has a row of the latter
    plan = replay_selection.planned(spark, prepared, run)
    counted = plan.groupBy("left_out").agg(
        F.count("*").alias("keys"), F.sum("rows_before").alias("rows")
    )
    found = [
        ReplayRows(row["left_out"] or REPLAYED, row["keys"], row["rows"] or 0)
        for row in counted.collect()
    ]
    return tuple(sorted(found, key=lambda one: (one.outcome != REPLAYED, one.outcome)))
