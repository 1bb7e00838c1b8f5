"""Faults in the embedded engine: what is begun there is finished elsewhere, and the reverse; every row once."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from millrace.pipelines.accounting.ledger_rebuild import rebuild
from millrace.pipelines.lake.location import LakeLocation
from millrace.schemas.config import Job
from millrace.udfs.engine.fault_script import VARIABLE
from tests.chaos.driven import KILL, TERM, send, start, table, violations, wait_for_calls
from tests.helpers import image_table, images, job_of, write_parquet
from tests.pipelines.spark.embedded_job import millrace, write_job

pytestmark = [pytest.mark.spark, pytest.mark.faults]
ROWS, FILES = 60, 6
SEGV = 255  # the first pixel of the row that ends its process


def job_in(place: str, folder: Path, model: Path, pixels: list[bytes]) -> Job:
    """A job of six units."""
    if not (folder / "input").exists():
        write_parquet(folder / "input", image_table(pixels), files=FILES)
    engine = {"backend": "torch", "precision": "fp32"}
    return job_of(folder, model, engine=engine, run={"place": place})


def with_a_bad_row() -> list[bytes]:
    """Pixels of which row 44 alone begins with `SEGV`."""
    pixels = [bytes([cell[0] % 200]) + cell[1:] for cell in images(ROWS)]
    pixels[44] = bytes([SEGV]) + pixels[44][1:]
    return pixels


@pytest.mark.parametrize(
    ("first", "then", "at"),
    [("embedded", "auto", "before_commit"), ("auto", "embedded", "after_commit")],
)
def test_a_run_that_is_killed_in_one_place_is_finished_in_the_other_with_every_row_once(
    first: str, then: str, at: str, model: Path, tmp_path: Path
) -> None:
    pixels = images(ROWS)
    kill = {"driver": [{"action": "kill", "at": at, "nth": 3}]}

    killed = start(job_in(first, tmp_path, model, pixels), tmp_path / "drivers", script=kill)
    assert killed.wait() == -KILL, killed.log.read_text("utf-8")
    assert not killed.orphans()
    job = job_in(then, tmp_path, model, pixels)
    committed = len(table(Path(job.output.path), job.table))
    last = start(job, tmp_path / "drivers")

    assert last.wait() == 0, last.log.read_text("utf-8")
    assert 0 < committed < ROWS
    assert not violations(job, model, pixels, set(), set())
    assert last.told()["scored"] == ROWS
    assert not last.open_books()
    assert not last.orphans()
    ledger = table(Path(job.output.path), "ledger")
    assert len({row["x_AppId"] for row in ledger}) == 2  # each attempt is priced
    again = rebuild(LakeLocation(Path(job.output.path)), last.told()["run_id"])
    assert (again.same, again.written, again.different) == (len(ledger), 0, ())


def test_a_row_that_ends_the_engines_process_is_named_as_such_and_found_in_the_other_place(
    model: Path, tmp_path: Path
) -> None:
    pixels = with_a_bad_row()
    script = {"predict": {"rules": [{"action": "segv", "when": [0, SEGV]}]}}

    died = start(job_in("embedded", tmp_path, model, pixels), tmp_path / "drivers", script=script)
    assert died.wait() == 5, died.log.read_text("utf-8")
    assert "the embedded engine's process has ended" in died.told()["error"]
    assert "run.place=local" in died.told()["next"]
    assert not died.orphans()
    job = job_in("auto", tmp_path, model, pixels)
    last = start(job, tmp_path / "drivers", script=script)

    assert last.wait() == 0, last.log.read_text("utf-8")
    assert last.told()["failed"] == 1
    assert not violations(job, model, pixels, set(), {44})


def test_by_default_a_run_whose_engine_ended_is_resumed_in_spark_by_the_same_command(
    model: Path, tmp_path: Path
) -> None:
    pixels = with_a_bad_row()
    job = job_in("auto", tmp_path, model, pixels)
    (tmp_path / "faults.json").write_text(
        json.dumps({"predict": {"rules": [{"action": "segv", "when": [0, SEGV]}]}}), "utf-8"
    )
    file = write_job(job, tmp_path / "job.yaml")

    done = millrace("run", str(file), "--json", **{VARIABLE: str(tmp_path / "faults.json")})

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["scored"], told["failed"]) == (ROWS - 1, 1)
    applications = {event["application"] for event in table(Path(job.output.path), "runs")}
    assert len(applications) == 2
    assert not violations(job, model, pixels, set(), {44})
    assert {gate["passed"] for gate in told["gates"]} == {True}
    shown = millrace("run", str(file), "--fresh", **{VARIABLE: str(tmp_path / "faults.json")})
    assert shown.returncode == 0, shown.stderr
    assert (
        "The embedded engine's process has ended (exit code -11): resuming in Spark" in shown.stderr
    )


def test_a_call_that_hangs_ends_the_engine_and_the_run_is_finished_in_the_other_place(
    model: Path, tmp_path: Path
) -> None:
    pixels = with_a_bad_row()
    once = str(tmp_path / "slept")
    hangs = {"action": "sleep", "seconds": 600.0, "when": [0, SEGV], "once": once}
    script = {"predict": {"rules": [hangs]}}
    job = job_in("embedded", tmp_path, model, pixels)

    hung = start(job, tmp_path / "drivers", "--idle-s", "5", script=script)
    assert hung.wait() == 5, hung.log.read_text("utf-8")
    assert hung.told()["got"] == "exit code 124, since a task hung"
    assert not hung.orphans()
    last = start(job_in("auto", tmp_path, model, pixels), tmp_path / "drivers", script=script)

    assert last.wait() == 0, last.log.read_text("utf-8")
    assert not violations(job, model, pixels, set(), set())
    assert not last.open_books()


def test_a_killed_driver_leaves_no_engine_and_a_signal_stops_within_ten_seconds(
    model: Path, tmp_path: Path
) -> None:
    pixels, calls = images(ROWS), tmp_path / "calls"
    job = job_in("embedded", tmp_path, model, pixels)
    slow: dict[str, Any] = {"action": "sleep", "seconds": 3.0}
    script = {"predict": {"calls": str(calls), "rules": [slow]}}

    killed = start(job, tmp_path / "drivers", script=script)
    wait_for_calls(killed, calls, 1)
    send(killed.process, KILL)
    assert killed.wait() == -KILL
    assert not killed.orphans()
    stopped = start(job, tmp_path / "drivers", script=script)
    wait_for_calls(stopped, calls, 5)
    stopped.process.send_signal(TERM)
    began = time.monotonic()

    assert stopped.wait() == 5, stopped.log.read_text("utf-8")
    assert time.monotonic() - began < 10
    assert "resume" in stopped.told()["next"]
    assert not stopped.orphans(within_s=2.0)
    assert not (Path(job.output.path) / "_staging").exists()
    last = start(job, tmp_path / "drivers")
    assert last.wait() == 0, last.log.read_text("utf-8")
    assert not violations(job, model, pixels, set(), set())
    assert not last.open_books()
