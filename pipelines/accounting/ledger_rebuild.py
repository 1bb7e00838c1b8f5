"""The ledger of a run, rebuilt from its sources: committed meters, Spark's event logs, the run's events."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from millrace.pipelines.accounting import ledger
from millrace.pipelines.accounting.attempt_usage import closings
from millrace.pipelines.accounting.corrections import ORIGINAL
from millrace.pipelines.accounting.ledger import Counted
from millrace.pipelines.accounting.rates import Rate
from millrace.pipelines.lake import delta, runs
from millrace.pipelines.lake.location import LakeLocation
from millrace.schemas.errors import RunFailed, UsageError
from millrace.schemas.ids import digest
from millrace.schemas.tables import LEDGER, predictions_name

Row = dict[str, Any]


@dataclass(frozen=True)
class Rebuilt:
    """Rows of a rebuilt ledger: equal to the stored ones, missing there, and different there."""

    run_id: str
    same: int
    written: int
    different: tuple[str, ...]  # their x_RecordId

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self) | {"different": list(self.different)}

    def check(self) -> None:
        """Raise RunFailed where the ledger has a row that differs from the rebuilt one."""
        if self.different:
            raise RunFailed(
                "the ledger has rows that cannot be made again as they are",
                got=f"{len(self.different)} rows, such as {self.different[0]}",
                allowed="the same rows, byte for byte",
                next="see whether a table was restored since; rows of the ledger are never edited",
            )


def rebuild(lake: LakeLocation, run_id: str, event_logs: Path | None = None) -> Rebuilt:
    """Write the rows of a run that the ledger lacks; compare the rows that it has, and never edit them.

    ``event_logs`` is the folder of Spark's event logs; None: the lake's own.
    Raises UsageError for a run that the lake does not have, or that has not closed its books.
    """
    events = runs.events(lake, run_id)
    if not events:
        raise UsageError(f"no run {run_id} in {lake}", next=f"millrace runs --lake {lake}")
    if events[-1]["books_closed_at"] is None:
        raise UsageError(
            f"run {run_id} has not closed its books",
            got=f"its last event is {events[-1]['state']}",
            next="run its job again: it goes on, and prices what was lost",
        )
    stored = [row for row in ledger.of_run(lake, run_id) if row["x_RecordType"] == ORIGINAL]
    made = _made(lake, events, event_logs or lake.logs, stored)
    before = {row["x_RecordId"]: row for row in stored}
    new = ledger.not_in_ledger(made, stored)
    if new:
        name = digest(sorted(row["x_RecordId"] for row in new))[:16]
        delta.append_values(new, lake, LEDGER, f"millrace:{run_id}:rebuilt:{name}")
    both = [row for row in made if row["x_RecordId"] in before]
    other = tuple(r["x_RecordId"] for r in both if r != before[r["x_RecordId"]])
    return Rebuilt(run_id, len(both) - len(other), len(new), other)


def _made(lake: LakeLocation, events: list[Row], event_logs: Path, before: list[Row]) -> list[Row]:
    run_id, job = str(events[-1]["run_id"]), str(events[-1]["job"])
    table = predictions_name(job)
    is_there = lake.folder(table).exists()
    counted = ledger.counted(lake, table, run_id) if is_there else Counted(0, 0, ())
    settings = json.loads(events[-1]["settings"])
    until = ledger.charged_until(before)
    usage = closings(run_id, events, event_logs, slots=settings.get("slots"), charged_until=until)
    price = events[-1]["price"]
    rate = None if price is None else Rate.from_json(price)
    return ledger.rows_of(counted.meters, usage, rate, run_id, job, settings.get("tags", {}))
