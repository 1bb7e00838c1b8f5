"""The books of an attempt: count committed rows, price slot time, and check one against the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pyspark.sql import SparkSession

from millrace.pipelines.accounting import ledger, reconciliation
from millrace.pipelines.accounting.attempt_usage import closings
from millrace.pipelines.accounting.ledger import Counted
from millrace.pipelines.accounting.reconciliation import Books, Gate
from millrace.pipelines.console.progress import Progress
from millrace.pipelines.inference.inference_config import InferenceConfig
from millrace.pipelines.job.prepared_job import PreparedJob
from millrace.pipelines.lake import delta, runs
from millrace.pipelines.lake.runs import Run
from millrace.pipelines.run.avoided_cost import AvoidedCost, compute_avoided_cost
from millrace.pipelines.spark import cluster
from millrace.pipelines.spark.event_log import EventLog
from millrace.pipelines.validation.verdict import Verdict
from millrace.schemas import figures, tables
from millrace.schemas.summary import RunSummary
from millrace.schemas.tables.prediction_tables import TRUNCATED


@dataclass(frozen=True)
class SessionResources:
    """Spark's event log of this attempt, where there is one, and the slots that it uses."""

    log: EventLog | None
    slots: int

    @staticmethod
    def of(spark: SparkSession) -> SessionResources:
        """The log and slots of a session."""
        return SessionResources(EventLog.of(spark), cluster.slots(spark))


def account(
    prepared: PreparedJob,
    run: Run,
    resources: SessionResources,
    verdict: Verdict,
    units: int,
    closed: datetime,
    progress: Progress,
) -> RunSummary:
    """Close the books of a run that is done; its totals."""
    with progress.waiting("accounting"):
        counted = ledger.counted(prepared.lake, prepared.predictions.name, run.run_id)
        ended = counted.scored + counted.failed + verdict.quarantined
        books = close(prepared, run, resources, counted, closed, rows=(verdict.input_rows, ended))
        found = reconciliation.gates(books)
        saving = _saved(prepared, run, counted, books)
        scored_now = runs.scored_now(prepared.lake, run.run_id, counted.scored)
    return RunSummary(
        **_identity(prepared, run),
        **_energy(books),
        rows_read=verdict.rows,
        scored=counted.scored,
        quarantined=verdict.quarantined,
        failed=counted.failed,
        truncated=counted.truncated,
        scored_now=scored_now,
        units_done=units,
        units_total=units,
        model_load_s=round(sum(meter["load_s"] for meter in counted.meters), 3),
        cost=ledger.cost_of(books.rows),
        currency=prepared.rate.currency if prepared.rate else None,
        ledger_coverage=_explained(books),
        books_closed=reconciliation.are_closed(found),
        gates=found,
        saved_rows=saving.rows,
        saved_s=saving.seconds,
        saved_cost=saving.cost,
        warnings=tuple(_warnings(prepared, books, found, counted.truncated)),
    )


def _identity(prepared: PreparedJob, run: Run) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "state": runs.DONE,
        "fingerprint": prepared.fingerprint,
        "lake": str(prepared.lake),
        "input": prepared.pinned.summary(),
    }


def _energy(books: Books) -> dict[str, Any]:
    drawn = ledger.drawn_of(books.rows)
    return {
        "energy_wh": drawn.wh,
        "energy_wh_low": drawn.wh_low,
        "energy_wh_high": drawn.wh_high,
        "carbon_g": drawn.carbon_g,
    }


def last_event(
    prepared: PreparedJob, config: InferenceConfig, summary: RunSummary, closed: datetime
) -> dict[str, Any]:
    """What the run's last event has besides the summary's totals."""
    return {
        "settings": json.dumps(prepared.settings | config.settings, sort_keys=True),
        "gates": reconciliation.as_json(summary.gates),
        "forecast": summary.forecast and json.dumps(summary.forecast),
        "books_closed_at": closed,
    }


def _explained(books: Books) -> float | None:
    """The share of task time of which the ledger knows the kind; None where Spark's time is not known."""
    is_known = all(closing.is_measured for closing in books.closings)
    return figures.explained_share(books.rows) if books.closings and is_known else None


def _saved(prepared: PreparedJob, run: Run, counted: Counted, books: Books) -> AvoidedCost:
    """What rows that were not computed would have cost: in the ledger, in no sum."""
    computed = sum(meter["rows"] for meter in counted.meters)
    saving = compute_avoided_cost(
        prepared, run, counted.scored + counted.failed, computed, books.rows
    )
    if saving.records:
        delta.append_values(
            saving.records, prepared.lake, tables.LEDGER, f"{run.transaction()}:saved"
        )
    return saving


def close_attempt(
    prepared: PreparedJob, run: Run, resources: SessionResources, closed: datetime
) -> None:
    """Price the slot time of an attempt that was stopped, refused or failed."""
    counted = Counted(0, 0, ())
    if prepared.lake.folder(prepared.predictions.name).exists():
        counted = ledger.counted(prepared.lake, prepared.predictions.name, run.run_id)
    close(prepared, run, resources, counted, closed)


def close(
    prepared: PreparedJob,
    run: Run,
    resources: SessionResources,
    counted: Counted,
    closed: datetime,
    rows: tuple[int | None, int | None] = (None, None),
) -> Books:
    """Append to the ledger the rows of the run's attempts that it lacks; return all of its rows."""
    events = runs.events(prepared.lake, run.run_id)
    application = resources.log.application if resources.log else run.application
    mine = [meter["task_id"] for meter in counted.meters if meter["application"] == application]
    before = ledger.of_run(prepared.lake, run.run_id)
    closed_attempts = closings(
        run.run_id,
        runs.closed_at(events, closed),
        resources.log.path.parent if resources.log else prepared.lake.logs,
        current=resources.log,
        slots=resources.slots,
        wanted=mine,
        charged_until=ledger.charged_until(before),
    )
    tags = prepared.settings.get("tags", {})
    every = ledger.rows_of(
        counted.meters, closed_attempts, prepared.rate, run.run_id, run.job, tags
    )
    new = ledger.not_in_ledger(every, before)
    delta.append_values(new, prepared.lake, tables.LEDGER, f"{run.transaction()}:{run.events}")
    return Books([*before, *new], closed_attempts, counted.meters, prepared.rate, *rows)


def _warnings(
    prepared: PreparedJob, books: Books, found: tuple[Gate, ...], truncated: int
) -> Iterator[str]:
    """What a user should know besides the totals."""
    if truncated:
        yield (
            f"{truncated:,} texts are longer than the model reads: their scores are of a part of them, "
            f"and their warnings have {TRUNCATED!r}"
        )
    if not all(closing.is_measured for closing in books.closings):
        yield "the ledger has the meters alone: Spark's task times could not be read"
    for gate in found:
        if gate.passed is False:
            yield f"the books do not close: {gate.name}: {gate.got}, and it must be {gate.allowed}"
    cost = ledger.cost_of(books.rows)
    budget = prepared.job.cost.budget if prepared.job.cost else None
    if budget is not None and cost is not None and cost > budget:
        yield f"the run cost more than its budget of {budget}: its last unit took longer than foreseen"
