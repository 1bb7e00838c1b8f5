"""A replay scores the refused rows of a run that can be scored now, once, and charges those alone."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from millrace.pipelines.console.progress import Progress
from millrace.pipelines.job import work_units
from millrace.pipelines.lake import delta, runs
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.lake.run_lock import LeaseTimes, claimed
from millrace.pipelines.query.engine import query
from millrace.pipelines.reporting import lake_page
from millrace.pipelines.run import replay_selection
from millrace.pipelines.run.replay import replay, request
from millrace.pipelines.run.replay_source import of_rows_alone, repaired_source
from millrace.pipelines.run.runner import check, run
from millrace.schemas.config import Job
from millrace.schemas.contract import Contract
from millrace.schemas.errors import ClaimHeld, UsageError
from millrace.schemas.ids import digest
from millrace.schemas.sources import CsvSource, ParquetSource
from millrace.schemas.summary import RunSummary
from millrace.schemas.tables import QUARANTINE, REPLAYS, RUNS
from millrace.udfs.engine import fault_injection
from millrace.udfs.engine.fault_actions import Fault
from millrace.udfs.engine.fault_script import FaultRule, FaultScript
from tests.helpers import image_table, images, job_of, write_parquet

QUIET = Progress(quiet=True)
KEY = '{"id":%s}'
CONTRACT: dict[str, Any] = {
    "columns": {
        "id": {"type": "bigint", "nullable": False, "unique": True},
        "pixels": {"type": "binary", "nullable": False},
        "note": {"type": "string"},
    },
    "rules": [
        {"name": "whole", "holds": "length(pixels) = 16"},
        {"name": "short_note", "holds": "length(note) < 5", "on_null": "pass"},
    ],
    "max_quarantined": 0.9,
}
LONG_NOTES = {  # corrected: notes may be long; what is promised of the whole input no replay can keep
    **CONTRACT,
    "rules": CONTRACT["rules"][:1],
    "expectations": [{"expect": "ExpectTableRowCountToBeBetween", "min_value": 9}],
    "max_quarantined": 0.1,
}
TWINS_TOO = {  # and keys may repeat
    **LONG_NOTES,
    "columns": {**CONTRACT["columns"], "id": {"type": "bigint", "nullable": False}},
}
TABLES = ("predictions_tiny", "quarantine", "ledger", "runs", "replays")
# Rows 1, 4 and 8 are good. 2 and 6 have long notes, 5 is cut short, 3 is there twice, one has no key.
IDS = [1, 2, 3, 3, 4, 5, 6, None, 8]
NOTES = [None, "much too long", "a", "b", "c", "d", "long as well", "e", "f"]


def write_input(folder: Path) -> list[bytes]:
    pixels = images(len(IDS))
    pixels[5] = b"short"
    table = image_table(pixels, IDS).append_column("note", pa.array(NOTES))
    write_parquet(folder, table, files=3)
    return pixels


def counts(summary: RunSummary) -> tuple[int, int, int, int]:
    return summary.rows_read, summary.scored, summary.quarantined, summary.failed


class Lake:
    """A lake in which a run refused rows, and the job with other contracts."""

    def __init__(self, spark: SparkSession, input_: Path, folder: Path, model: Path) -> None:
        self.spark, self.input, self.lake, self.model = spark, input_, folder / "lake", model
        self.first = ""

    def job(self, contract: dict[str, Any]) -> Job:
        places = {"source": {"format": "parquet", "path": str(self.input)}}
        return job_of(self.lake.parent, self.model, contract=contract, keep=("note",), **places)

    def run(self) -> RunSummary:
        done = run(self.spark, self.job(CONTRACT), QUIET)
        self.first = done.run_id
        return done

    def replay(self, contract: dict[str, Any], *, failed_too: bool = False) -> RunSummary:
        job = self.job(contract)
        asked = request(job, self.first, failed_too=failed_too)
        return replay(self.spark, job, asked, QUIET)

    def replay_that_dies(self, contract: dict[str, Any], at: str) -> None:
        """A replay whose driver fails when it is first at a failpoint."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fault_injection, "ON", True)
            patch.setattr(
                fault_injection, "SCRIPT", FaultScript(driver=(FaultRule("raise", at=at, nth=1),))
            )
            with pytest.raises(Fault):
                self.replay(contract)

    def rows(self, sql: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = query(LakeLocation(self.lake), sql).to_pylist()
        return found

    def count(self, table: str) -> int:
        return len(self.rows(f"SELECT * FROM {table}"))

    def outcomes(self, summary: RunSummary) -> list[tuple[str, str]]:
        sql = f"SELECT key, outcome FROM replayed WHERE run_id = '{summary.run_id}' ORDER BY key, outcome"
        return [(row["key"], row["outcome"]) for row in self.rows(sql)]

    def copy(self, to: Path) -> Lake:
        """The same lake elsewhere, for one test to change."""
        shutil.copytree(self.lake, to / "lake")
        made = Lake(self.spark, self.input, to, self.model)
        made.first = self.first
        return made


@pytest.fixture(scope="module")
def whole(spark: SparkSession, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A lake after its first run."""
    folder = tmp_path_factory.mktemp("whole")
    write_input(folder / "input")
    made = Lake(spark, folder / "input", folder, model)
    assert counts(made.run()) == (9, 3, 6, 0)
    return made


@pytest.fixture(scope="module")
def corrected(whole: Lake, tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, RunSummary]:
    """A copy of it after the replay under a corrected contract, and what that came to."""
    made = whole.copy(tmp_path_factory.mktemp("corrected"))
    return made, made.replay(LONG_NOTES)


@pytest.mark.slow
@pytest.mark.spark
def test_a_validation_is_no_run_in_any_total(
    spark: SparkSession, whole: Lake, tmp_path: Path
) -> None:
    made = whole.copy(tmp_path)
    verdict = check(spark, made.job(CONTRACT), QUIET)
    second = made.replay(LONG_NOTES)

    assert verdict.quarantined == 6
    assert made.count("quarantine") == 6 + 6 + 3, (
        "the validation's rows are there, under its own id"
    )
    mine = f"run_id IN ('{made.first}', '{second.run_id}')"
    broken = made.rows(f"SELECT reasons FROM quarantine WHERE {mine}")
    rules = Counter(
        reason["rule"]
        for row in broken
        for reason in row["reasons"]
        if reason["severity"] == "error"
    )
    told = made.rows("SELECT rule, refused, runs FROM quarantine_reasons")
    assert {row["rule"]: row["refused"] for row in told} == dict(rules)
    assert max(row["runs"] for row in told) == 2
    assert {row["run_id"] for row in made.rows("SELECT run_id FROM runs_current")} == {
        made.first,
        second.run_id,
    }
    for view in ("cost_by_run", "waste", "cost_by_partition"):
        assert {row["run_id"] for row in made.rows(f"SELECT run_id FROM {view}")} <= {
            made.first,
            second.run_id,
        }
    (validation,) = made.rows(f"SELECT DISTINCT run_id FROM quarantine WHERE NOT {mine}")
    assert validation["run_id"] not in lake_page.write(LakeLocation(made.lake)).read_text("utf-8")


@pytest.mark.slow
@pytest.mark.spark
def test_what_a_corrected_contract_accepts_is_scored_and_what_still_breaks_it_is_refused_again(
    corrected: tuple[Lake, RunSummary],
) -> None:
    made, second = corrected

    # 2 and 6 pass now; 5 is still short and 3 still twice; the row without a key cannot be found
    assert counts(second) == (5, 2, 3, 0)
    assert second.run_id != made.first
    assert second.books_closed is True
    assert made.outcomes(second) == [
        (KEY % 2, "scored"), (KEY % 3, "refused again"), (KEY % 3, "refused again"),
        (KEY % 5, "refused again"), (KEY % 6, "scored"), (KEY % "null", "left out: no key"),
    ]  # fmt: skip
    why = made.rows(f"SELECT key, reasons FROM replayed WHERE run_id = '{second.run_id}'")
    broke = {row["key"]: [reason["rule"] for reason in row["reasons"]] for row in why}
    assert broke[KEY % 2] == ["short_note"]
    assert broke[KEY % 5] == ["whole"]
    current = made.rows("SELECT id, note, run_id FROM tiny_current ORDER BY id")
    assert [(row["id"], row["run_id"]) for row in current] == [
        (1, made.first), (2, second.run_id), (4, made.first), (6, second.run_id), (8, made.first),
    ]  # fmt: skip
    assert current[1]["note"] == "much too long"
    again = made.rows(f"SELECT key FROM quarantine WHERE run_id = '{second.run_id}'")
    assert sorted(row["key"] for row in again) == [KEY % 3, KEY % 3, KEY % 5]
    told = made.rows("SELECT run_id, replays FROM runs_current")
    assert {row["run_id"]: row["replays"] for row in told} == {
        made.first: None, second.run_id: made.first,
    }  # fmt: skip
    assert second.warnings == (
        "quarantined rows left out, which have no key to be found by: 1",
        f"rows that break the contract still, quarantined under {second.run_id}: 3",
    )


@pytest.mark.spark
def test_the_increment_alone_is_charged(whole: Lake, corrected: tuple[Lake, RunSummary]) -> None:
    made, second = corrected
    ledger = made.rows("SELECT x_RunId, SkuMeter, x_RowsOut, EffectiveCost FROM ledger")
    mine = [row for row in ledger if row["x_RunId"] == second.run_id]
    assert len(ledger) - len(mine) == len(whole.rows("SELECT x_RunId FROM ledger"))
    assert sum((row["EffectiveCost"] for row in mine), Decimal(0)) == second.cost
    assert sum(row["x_RowsOut"] or 0 for row in mine if row["SkuMeter"] == "Core") == 2


@pytest.mark.slow
@pytest.mark.spark
def test_a_second_time_nothing_is_scored_and_no_other_contract_scores_a_key_again(
    corrected: tuple[Lake, RunSummary], tmp_path: Path
) -> None:
    made, second = corrected[0].copy(tmp_path), corrected[1]
    before = {table: made.count(table) for table in TABLES}

    again = made.replay(LONG_NOTES)

    assert (again.run_id, again.warnings[0]) == (second.run_id, runs.DONE_ALREADY)
    assert {table: made.count(table) for table in TABLES} == before

    third = made.replay({**TWINS_TOO, "rules": []})

    assert counts(third) == (3, 2, 0, 1)  # both of key 3, and 5, which is too short for the model
    assert dict(made.outcomes(third)) == {
        KEY % 2: "left out: scored already", KEY % 3: "scored", KEY % 5: "failed",
        KEY % 6: "left out: scored already", KEY % "null": "left out: no key",
    }  # fmt: skip
    scored = made.rows("SELECT id FROM predictions_tiny WHERE error IS NULL ORDER BY id")
    assert [row["id"] for row in scored] == [1, 2, 3, 3, 4, 6, 8]
    assert "quarantined rows left out, whose keys a later run has scored: 2" in third.warnings

    with pytest.raises(UsageError, match="refused no row"):
        request(made.job(CONTRACT), third.run_id)
    made.first = third.run_id
    fourth = made.replay(CONTRACT, failed_too=True)
    assert counts(fourth) == (1, 0, 1, 0)
    assert made.outcomes(fourth) == [(KEY % 5, "refused again")]


@pytest.mark.slow
@pytest.mark.spark
def test_a_replay_that_is_killed_between_units_goes_on_and_scores_no_row_twice(
    whole: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = whole.copy(tmp_path)
    monkeypatch.setattr(work_units, "_UNKNOWN_SPEED_BYTES", 1)  # each file is a unit
    monkeypatch.setattr(runs, "rows_per_s", lambda *_: None)
    made.replay_that_dies(TWINS_TOO, "after_commit")
    committed = made.count("predictions_tiny")

    second = made.replay(TWINS_TOO)

    assert 3 < committed < 7
    assert second.units_total == 3
    assert counts(second) == (5, 4, 1, 0)
    scored = made.rows("SELECT id, run_id FROM predictions_tiny ORDER BY id")
    assert [row["id"] for row in scored] == [1, 2, 3, 3, 4, 6, 8]
    assert {row["run_id"] for row in scored} == {made.first, second.run_id}
    states = [event["state"] for event in runs.events(LakeLocation(made.lake), second.run_id)]
    assert states == ["started", "failed", "resumed", "done"]
    planned = delta.values(
        LakeLocation(made.lake), REPLAYS, [("state", "=", replay_selection.PLANNED)]
    )
    assert len(planned) == 5  # once: 2, 3, 5, 6 and the row without a key


@pytest.mark.slow
@pytest.mark.spark
def test_a_replay_that_was_killed_leaves_out_what_another_has_scored_meanwhile(
    whole: Lake, tmp_path: Path
) -> None:
    made = whole.copy(tmp_path)
    made.replay_that_dies(TWINS_TOO, "before_commit")
    assert made.replay(LONG_NOTES).scored == 2  # the keys 2 and 6

    last = made.replay(TWINS_TOO)

    scored = made.rows("SELECT id FROM predictions_tiny ORDER BY id")
    assert [row["id"] for row in scored] == [1, 2, 3, 3, 4, 6, 8]
    assert dict(made.outcomes(last)) == {
        KEY % 2: "left out: scored already", KEY % 3: "scored", KEY % 5: "refused again",
        KEY % 6: "left out: scored already", KEY % "null": "left out: no key",
    }  # fmt: skip
    assert "quarantined rows left out, whose keys a later run has scored: 2" in last.warnings


@pytest.mark.spark
def test_a_replay_reads_what_the_run_read_or_nothing(whole: Lake, tmp_path: Path) -> None:
    other = shutil.copytree(whole.input, tmp_path / "input")  # equal bytes are not the same input
    elsewhere = Lake(whole.spark, other, whole.lake.parent, whole.model)
    elsewhere.first = whole.first
    with pytest.raises(UsageError, match="the input is not what run .* read") as changed:
        elsewhere.replay(LONG_NOTES)
    assert "--repaired" in str(changed.value)
    assert "3 files" in str(changed.value)
    shutil.rmtree(other)
    with pytest.raises(UsageError, match="cannot be read again"):
        elsewhere.replay(LONG_NOTES)
    assert len(runs.events(LakeLocation(whole.lake), whole.first)) == whole.count(
        "runs"
    )  # nothing was begun


def event(lake: Path, run_id: str, state: str, **more: Any) -> None:
    told = {"run_id": run_id, "event": 0, "job": "tiny", "state": state, "failed": 0, **more}
    delta.append_values([told], LakeLocation(lake), RUNS, run_id)


@pytest.mark.parametrize(
    ("run_id", "text"),
    [
        ("other-1", "it is of job other"),
        ("tiny-refused", "it is refused"),
        ("tiny-clean", "refused no row"),
        ("tiny-gone", "no run of this id"),
        ("tiny-keyed", "key: [place, id]"),
    ],
)
def test_a_run_that_cannot_be_replayed_is_refused_before_spark_is_started(
    tmp_path: Path, run_id: str, text: str
) -> None:
    lake = tmp_path / "lake"
    event(lake, "other-1", "done", job="other")
    event(lake, "tiny-refused", "refused")
    event(lake, "tiny-clean", "done")
    event(lake, "tiny-keyed", "done")
    by_place = {"run_id": "tiny-keyed", "job": "tiny", "key": '{"place":"x","id":1}'}
    delta.append_values([by_place], LakeLocation(lake), QUARANTINE, "none")
    with pytest.raises(UsageError) as refused:
        request(job_of(tmp_path, tmp_path / "no-model"), run_id)
    assert text in str(refused.value)
    assert refused.value.next


def test_two_replays_of_one_run_do_not_work_at_the_same_time(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    event(lake, "tiny-1", "done", failed=1)
    delta.append_values([], LakeLocation(lake), QUARANTINE, "none")
    job = job_of(tmp_path, tmp_path / "no-model")
    asked, lease = request(job, "tiny-1", failed_too=True), LeaseTimes(beat_s=0.1)
    with (
        claimed(
            LakeLocation(lake.absolute()), digest({"replays of": "tiny-1"}), "tiny", lease=lease
        ),
        pytest.raises(ClaimHeld),
    ):
        replay(None, job, asked, QUIET, lease=lease)  # type: ignore[arg-type] - it gets as far as the claim


CSV = CsvSource(format="csv", path="in.csv", delimiter=";", null="NA", line="line")


def test_repaired_rows_are_read_as_the_jobs_own_unless_a_format_is_named() -> None:
    assert repaired_source(CSV, "fixed.csv") == CsvSource(
        format="csv", path="fixed.csv", delimiter=";", null="NA"
    )  # their line numbers are others: `line` is a column of theirs
    assert repaired_source(CSV, "s3://b/fixed.csv").path == "s3://b/fixed.csv"
    assert repaired_source(CSV, "parquet:a:b/") == ParquetSource(format="parquet", path="a:b/")
    for given_ in ("idx:images.gz", "parquet:"):
        with pytest.raises(UsageError) as refused:
            repaired_source(CSV, given_)
        assert refused.value.allowed


@given(st.floats(0, 1), st.integers(0, 5))
def test_the_rules_of_a_replay_are_those_of_its_contract_and_only_the_promises_go(
    share: float, least: int
) -> None:
    table = {"expect": "ExpectTableRowCountToBeBetween", "min_value": least}
    each = {"expect": "ExpectColumnValuesToNotBeNull", "column": "id"}
    whole = Contract.model_validate(
        {**CONTRACT, "max_quarantined": share, "expectations": [table, each]}
    )
    part = of_rows_alone(whole)
    assert part.row_rules(("id",)) == whole.row_rules(("id",))
    assert (part.expectations, part.max_quarantined) == (whole.expectations[1:], 1.0)
    assert json.loads(
        part.model_dump_json(exclude={"expectations", "max_quarantined"})
    ) == json.loads(whole.model_dump_json(exclude={"expectations", "max_quarantined"}))
