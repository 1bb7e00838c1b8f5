"""The ledger of a run once more, from what it was made of: committed meters, event logs, the run's events."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipelines import console, ledger, runs, sink
from pipelines.closings import closings
from pipelines.command_session import logs
from pipelines.corrections import ORIGINAL
from pipelines.ledger import Counted
from pipelines.rate import Rate
from pipelines.show import find
from schemas.errors import RunFailed, UsageError
from schemas.ids import digest
from schemas.tables import LEDGER, predictions_name

Row = dict[str, Any]


@dataclass(frozen=True)
class Rebuilt:
    """Rows that the ledger had as they were made again, that it lacked, and that it had otherwise."""

    run_id: str
    same: int
    written: int
    different: tuple[str, ...]  # their x_RecordId


def rebuild(lake: Path, run_id: str, event_logs: Path | None = None) -> Rebuilt:
    """Write the rows of a run that the ledger lacks; rows that it has are compared, and never edited.

    ``event_logs`` is the folder of Spark's event logs: the lake's own, where the session was Millrace's.
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
    told = [row for row in ledger.of_run(lake, run_id) if row["x_RecordType"] == ORIGINAL]
    made = _made(lake, events, event_logs or logs(lake), told)
    before = {row["x_RecordId"]: row for row in told}
    new = ledger.not_yet_told(made, told)
    if new:
        name = digest(sorted(row["x_RecordId"] for row in new))[:16]
        sink.append_values(new, lake, LEDGER, f"millrace:{run_id}:rebuilt:{name}")
    both = [row for row in made if row["x_RecordId"] in before]
    other = tuple(r["x_RecordId"] for r in both if r != before[r["x_RecordId"]])
    return Rebuilt(run_id, len(both) - len(other), len(new), other)


def _made(lake: Path, events: list[Row], event_logs: Path, before: list[Row]) -> list[Row]:
    run_id, job = str(events[-1]["run_id"]), str(events[-1]["job"])
    table = predictions_name(job)
    counted = ledger.counted(lake, table, run_id) if (lake / table).exists() else Counted(0, 0, ())
    settings = json.loads(events[-1]["settings"])
    until = ledger.charged_until(before)
    told = closings(run_id, events, event_logs, slots=settings.get("slots"), charged_until=until)
    price = events[-1]["price"]
    rate = None if price is None else Rate.from_json(price)
    return ledger.rows_of(counted.meters, told, rate, run_id, job, settings.get("tags", {}))


def command(lake: Path, run_id: str, event_logs: Path | None, *, as_json: bool) -> None:
    """Rebuild, and say what came of it. Raises RunFailed where a row is not as it was."""
    found = rebuild(lake, find(lake, run_id), event_logs)
    if as_json:
        console.print_json(asdict(found) | {"different": list(found.different)})
    else:
        console.echo(
            f"run {found.run_id}: {found.same:,} rows of the ledger are as they were made again, "
            f"{found.written:,} were missing and are written"
        )
    if found.different:
        raise RunFailed(
            "the ledger has rows that cannot be made again as they are",
            got=f"{len(found.different)} rows, such as {found.different[0]}",
            allowed="the same rows, byte for byte",
            next="see whether a table was restored since; rows of the ledger are never edited",
        )
