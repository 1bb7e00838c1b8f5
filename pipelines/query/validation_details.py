"""Details of one validation of a job's input: its rules, reasons and rows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from millrace.pipelines.lake import live_rows
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.query.lake_reader import LakeReader, Row
from millrace.pipelines.query.views import literal
from millrace.schemas.errors import UsageError
from millrace.schemas.tables import QUARANTINE, RUNS, VALIDATIONS

LOOKED_AT = 40  # refused rows of each rule from which examples are taken
CHECKS = 30  # of the job, for the trends


@dataclass(frozen=True)
class Example:
    """What one refused row had in the columns of a rule that it broke."""

    key: str
    values: Row


@dataclass(frozen=True)
class ValidationDetails:
    """One check; ``run`` is the run's last event, None for a validation without a run."""

    run_id: str
    run: Row | None
    rules: list[Row]  # as the table validations has them
    refused: int  # rows in quarantine
    together: list[
        tuple[tuple[str, ...], int]
    ]  # rules that rows broke, and so many rows, most first
    examples: dict[str, list[Example]]  # by rule
    past: list[list[Row]]  # the rules of each of the job's checks up to this one, in their order

    @property
    def job(self) -> str:
        """The job's name."""
        return str(self.rules[0]["job"])

    @property
    def rows(self) -> int:
        """Rows that were checked."""
        plain = [rule["checked"] or 0 for rule in self.rules if rule["kind"] != "expectation"]
        return max(plain or [rule["checked"] or 0 for rule in self.rules])


def read(lake: LakeLocation, run_id: str) -> ValidationDetails:
    """Read what is known of a check. Raises UsageError where the lake has none under this id."""
    reader = LakeReader(lake)
    rules = reader.rows(_RULES.format(run=literal(run_id)), VALIDATIONS.name)
    if not rules:
        raise UsageError(
            f"no validation of {run_id} in {lake}",
            got="no row in the table validations: the run stopped before, or its contract has no rule",
            next=f"millrace runs --lake {lake}",
        )
    names = [rule["rule"] for rule in rules if rule["failed"]]
    events = reader.rows(_EVENTS.format(run=literal(run_id)), RUNS.name)
    counted = _together(lake, run_id) if QUARANTINE.name in reader.there else Counter()
    return ValidationDetails(
        run_id=run_id,
        run=events[-1] if events else None,
        rules=rules,
        refused=sum(counted.values()),
        together=sorted(counted.items(), key=lambda one: (-one[1], one[0])),
        examples=_examples(lake, run_id, names) if counted else {},
        past=_past(reader, rules[0]),
    )


def _together(lake: LakeLocation, run_id: str) -> Counter[tuple[str, ...]]:
    """How many refused rows broke exactly these rules; a batch of rows at a time."""
    found: Counter[tuple[str, ...]] = Counter()
    for batch in _refused(lake, run_id, "reasons"):
        reasons = batch.column("reasons")
        names = pc.struct_field(reasons.flatten(), "rule").dictionary_encode()
        numbers = names.indices.cast(pa.string())  # a name may hold any separator
        joined = pc.binary_join(pa.ListArray.from_arrays(_offsets(reasons), numbers), ",")
        known = names.dictionary.to_pylist()
        for one in joined.value_counts().to_pylist():
            rules = tuple(known[int(number)] for number in one["values"].split(",") if number)
            found[rules] += one["counts"]
    return found


def _examples(lake: LakeLocation, run_id: str, rules: Sequence[str]) -> dict[str, list[Example]]:
    """Of each rule, what the first rows had that broke it; no more is read once every rule has some."""
    found: dict[str, list[Example]] = {name: [] for name in rules}
    for batch in _refused(lake, run_id, "key", "payload", "reasons"):
        reasons = batch.column("reasons")
        flat = pc.struct_field(reasons.flatten(), "rule")
        of_row = pc.list_parent_indices(reasons)
        for name in [name for name in rules if len(found[name]) < LOOKED_AT]:
            wanted = of_row.filter(pc.equal(flat, name))[: LOOKED_AT - len(found[name])]
            found[name] += [_example(row, name) for row in batch.take(wanted).to_pylist()]
        if all(len(examples) >= LOOKED_AT for examples in found.values()):
            break
    return {name: examples for name, examples in found.items() if examples}


def _example(row: Row, rule: str) -> Example:
    reason = next(one for one in row["reasons"] if one["rule"] == rule)
    values = _object(reason.get("observed")) or _object(row["payload"])
    return Example(
        row["key"], {name: values.get(name) for name in reason["columns"] if name in values}
    )


def _object(text: str | None) -> Row:
    """A JSON object; an empty one for a text that was cut short."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _refused(lake: LakeLocation, run_id: str, *columns: str) -> Iterator[pa.RecordBatch]:
    there = DeltaTable(lake.uri(QUARANTINE.name))
    mine = [("run_id", "=", run_id)]
    yield from (batch for batch in live_rows.batches(there, columns, mine) if len(batch))


def _offsets(reasons: pa.ListArray) -> pa.Array:
    """Where each row's reasons begin and end among all of them, counted from 0."""
    ends = pc.cumulative_sum(pc.fill_null(pc.list_value_length(reasons), 0))
    return pa.concat_arrays([pa.array([0], ends.type), ends]).cast(pa.int32())


def _past(lake: LakeReader, now: Row) -> list[list[Row]]:
    """The rules of the job's last checks of whole inputs, this one the last."""
    job = literal(now["job"])
    begun = lake.rows(f"SELECT * FROM runs WHERE event = 0 AND job = {job}", RUNS.name)  # noqa: S608
    replays = {run["run_id"] for run in begun if run.get("replays")} - {now["run_id"]}
    checks = lake.rows(_CHECKS.format(job=job), VALIDATIONS.name)
    before = [
        check["run_id"]
        for check in checks
        if check["at"] <= now["at"] and check["run_id"] not in replays
    ][-CHECKS:]
    listed = ", ".join(map(literal, before))
    by_run: dict[str, list[Row]] = {run_id: [] for run_id in before}
    for rule in lake.rows(_TREND.format(runs=listed), VALIDATIONS.name):
        by_run[rule["run_id"]].append(rule)
    return list(by_run.values())


_RULES = "SELECT * FROM validations WHERE run_id = {run} ORDER BY at, kind DESC, rule"
_EVENTS = "SELECT * FROM runs WHERE run_id = {run} ORDER BY event"
_CHECKS = """
SELECT run_id, MIN(at) AS at FROM validations WHERE job = {job} GROUP BY run_id ORDER BY at, run_id
"""
_TREND = """
SELECT run_id, rule, kind, columns, checked, failed, fingerprint FROM validations WHERE run_id IN ({runs})
"""
