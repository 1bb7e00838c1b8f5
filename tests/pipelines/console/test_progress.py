"""What a run says while it is at work: on a real terminal, in a plain log, and as JSON."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from pyspark.sql import SparkSession

from millrace.pipelines.console import output, structured_log
from millrace.pipelines.console.progress import Progress
from millrace.pipelines.console.progress_display import Display
from millrace.pipelines.console.progress_state import Spent, Tally, Tasks
from millrace.pipelines.job import work_units
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.query.engine import query
from millrace.pipelines.run.runner import run
from millrace.schemas.config import Job
from millrace.schemas.errors import (
    BudgetExceeded,
    GateRefused,
    MillraceError,
    RunFailed,
    TooManyFailed,
    UsageError,
)
from millrace.udfs.runtime.row_counts import Counts
from tests.helpers import image_table, images, job_of, write_parquet

ROOT = Path(__file__).resolve().parents[3]
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def tally(**more: Any) -> Tally:
    def spent(rows_left: float) -> Spent:
        return Spent(
            Decimal("0.021"), Decimal("0.021") + Decimal(rows_left) / 1000, Decimal(5), "EUR"
        )

    made = Tally(rows_total=100.0, units_total=4, spent=spent, quarantined=7, **more)
    made.began = time.monotonic() - 10
    return made


def job(tmp: Path, model: Path, **changes: Any) -> Job:
    """A job of four files, one row of which is refused."""
    write_parquet(tmp / "input", image_table([*images(79), b"short"]), files=4)
    made = job_of(tmp, model, **changes).model_dump(mode="json", exclude_unset=True)
    made["contract"]["rules"] = [{"name": "whole", "holds": "length(pixels) = 16"}]
    made["cost"]["budget"] = 5.0
    return Job.model_validate(made)


def test_rows_are_those_committed_and_of_units_at_work_what_their_tasks_have_counted() -> None:
    one, first, second = tally(), Counts(), Counts()
    one.begins(0, 40, lambda: first)
    one.begins(1, 40, lambda: second)
    first, second = Counts(scored=20), Counts(scored=5)
    assert one.rows == 0
    one.look()
    assert one.rows == 25
    second = Counts(scored=3)  # a task begins again
    one.look()
    assert one.rows == 25  # what was shown is not taken back
    one.ends(0, 40, failed=3)
    assert one.rows == 45
    assert (one.failed, one.units_done) == (3, 1)


def test_quarantined_rows_count_in_proportion_and_rows_that_are_only_read_are_said_to_be() -> None:
    one = tally(accepted=0.9, is_read_apart=True, counted=2.0)
    one.quarantined = 10
    one.begins(0, 50, lambda: Counts(60, 0))
    one.look()
    assert Display("scoring", one).line.startswith("scoring, 60 of about 100 rows read, unit 0")
    assert (one.facts()["rows"], one.facts()["rows_read"]) == (0, 60)
    one.begins(1, 50, lambda: Counts(100, 45))
    one.look()
    assert one.facts()["rows"] == 50
    assert "50 of about 100 rows," in Display("scoring", one).line


def test_a_line_has_rows_rate_time_left_money_and_what_went_wrong() -> None:
    one = tally(retried=2)
    one.begins(0, 40)
    one.ends(0, 40, failed=3)
    line = Display("scoring", one, Tasks(0, 4)).line
    assert line == (
        "scoring, 40 of about 100 rows, 4 rows/s, about 15 s left, unit 1 of 4, "
        "0.0210 of 5.00 EUR, about 0.0810 in the end, 7 quarantined, 3 failed, 2 retried"
    )


def test_before_a_row_is_scored_and_without_prices_nothing_is_made_up() -> None:
    assert Display("scoring", Tally(rows_total=9.0), Tasks()).line == "scoring, 0 of about 9 rows"
    known = Tally(rows_total=9.0).facts()
    assert [known[name] for name in ("rows_per_s", "left_s", "spent", "budget")] == [None] * 4


def test_a_text_with_brackets_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    Progress().say("  no report: [red]x[/nothing]")
    assert capsys.readouterr().err == "  no report: [red]x[/nothing]\n"


@pytest.mark.spark
def test_a_plain_log_has_the_same_facts_now_and_then(
    spark: SparkSession, tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(spark, job(tmp_path, model), Progress(every_s=0.0))
    told = capsys.readouterr()
    lines = [line for line in told.err.splitlines() if "of about 80 rows" in line]
    assert lines
    assert all("1 quarantined" in line and " of 5.00 USD" in line for line in lines)
    assert "\x1b" not in told.err
    assert told.out == ""


@pytest.mark.spark
def test_quiet_says_nothing(
    spark: SparkSession, tmp_path: Path, model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run(spark, job(tmp_path, model), Progress(quiet=True))
    assert capfd.readouterr() == ("", "")


@pytest.mark.spark
def test_a_log_for_machines_is_one_object_a_line_with_run_and_unit(
    spark: SparkSession,
    tmp_path: Path,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = job(tmp_path, model)
    size = min(path.stat().st_size for path in (tmp_path / "input").iterdir())
    monkeypatch.setattr(work_units, "_UNKNOWN_SPEED_BYTES", size)
    summary = run(spark, made, Progress(quiet=True, as_json=True, every_s=0.0))
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert all({"at", "level", "event", "message"} <= set(one) for one in told)
    begun = next(place for place, one in enumerate(told) if one["event"] == "run")
    assert all(one["run_id"] == summary.run_id for one in told[begun:])
    done = [one for one in told if one["event"] == "unit"]
    assert sorted(one["unit"] for one in done) == [0, 1, 2, 3]
    assert (done[-1]["units_done"], done[-1]["rows"], done[-1]["quarantined"]) == (4, 80, 1)
    assert Decimal(done[-1]["budget"]) == 5
    states = [(one["message"], one.get("scored")) for one in told if one["event"] == "run"]
    assert states == [("started", None), ("done", 79)]


@pytest.mark.spark
def test_a_run_that_fails_says_so_in_the_log_for_machines(
    spark: SparkSession, tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refusing = job(tmp_path, model)
    contract = refusing.contract.model_copy(update={"max_quarantined": 0})
    with pytest.raises(GateRefused):
        run(spark, refusing.model_copy(update={"contract": contract}), Progress(as_json=True))
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    (failed,) = [one for one in told if one["level"] == "error"]
    assert (failed["event"], failed["message"]) == ("run", "refused")
    assert failed["detail"].startswith("GateRefused: ")


@pytest.mark.spark
def test_what_a_model_says_of_a_row_is_told_to_people_and_the_table_and_to_no_log_for_machines(
    spark: SparkSession,
    tmp_path: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    quoted = "5 bytes, expected 16"
    write_parquet(tmp_path / "input", image_table([b"short"] * 200 + images(40)))

    with pytest.raises(TooManyFailed, match=quoted) as failed:
        run(spark, job_of(tmp_path, model, run={"max_failed": 0}), Progress(as_json=True))

    told = capsys.readouterr().err
    assert "TooManyFailed: too many rows have failed in one task" in told
    assert quoted not in told
    (last,) = query(
        LakeLocation(tmp_path / "lake"), "SELECT detail FROM runs WHERE state = 'failed'"
    ).to_pylist()
    assert quoted in last["detail"]
    output.print_error(failed.value, as_json=False)
    assert quoted in capsys.readouterr().err


def written(tmp: Path, made: Job) -> Path:
    path = tmp / "job.yaml"
    path.write_text(yaml.safe_dump(made.model_dump(mode="json", exclude_unset=True)))
    return path


@pytest.mark.slow
def test_a_terminal_has_one_live_display_and_nothing_of_it_stays(
    tmp_path: Path, model: Path
) -> None:
    path = written(tmp_path, job(tmp_path, model))
    shown = in_terminal([sys.executable, "-m", "millrace.pipelines.cli", "run", str(path)])
    assert "\x1b[?25l" in shown  # the cursor is hidden while it lives
    assert "\x1b[?25h" in shown
    plain = ESCAPES.sub("", shown)
    assert re.search(r"\d+ of about 80 rows", plain)
    assert re.search(r"[\d.]+ of 5\.00 USD", plain)
    assert "1 quarantined" in plain
    assert re.search(r"━+", plain)
    assert "80 read = 79 scored + 1 quarantined + 0 failed" in plain


@pytest.mark.slow
def test_a_command_with_log_json_writes_objects_alone_and_keeps_its_last_line(
    tmp_path: Path, model: Path
) -> None:
    path = written(tmp_path, job(tmp_path, model))
    words = [
        sys.executable,
        "-m",
        "millrace.pipelines.cli",
        "run",
        str(path),
        "--json",
        "--log",
        "json",
    ]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stderr.splitlines()]
    assert {"step", "run", "unit"} <= {one["event"] for one in told}
    assert json.loads(done.stdout)["run_id"] == told[-1]["run_id"]


def test_an_error_is_an_object_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from millrace.pipelines.cli import main

    monkeypatch.setenv(structured_log.VARIABLE, "json")
    with pytest.raises(SystemExit) as left:
        main(["run", "nowhere.yaml"])
    assert left.value.code == 2
    told = capsys.readouterr()
    found = json.loads(told.err)
    assert (found["level"], found["event"], found["exit_code"]) == ("error", "error", 2)
    assert told.out == ""


@pytest.mark.parametrize(
    ("error", "is_told"),
    [
        (UsageError("no such key", got="SECRET", next="correct it"), True),
        (BudgetExceeded("the forecast exceeds it", got="SECRET", next="raise it"), True),
        (GateRefused("the input was refused", got="SECRET", next="look at the rows"), False),
        (RunFailed("a task failed", got="SECRET", next="see the log"), False),
    ],
)
def test_once_rows_are_read_an_object_in_the_log_does_not_have_what_was_got(
    error: MillraceError,
    is_told: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(structured_log.VARIABLE, "json")
    assert output.print_error(error, as_json=True) == error.exit_code
    told = capsys.readouterr()
    line = json.loads(told.err)
    assert (line["message"], line["next"]) == (error.what, error.next)
    assert ("got" in line) == is_told
    assert json.loads(told.out)["got"] == "SECRET"  # what the command says to who asked


def test_a_bug_is_an_object_with_its_trace_and_without_its_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from millrace.pipelines.cli import main
    from millrace.pipelines.commands.printing import run_details

    def broken(*_: Any, **__: Any) -> None:
        raise ValueError("SECRET")

    monkeypatch.setattr(run_details, "print_run", broken)
    monkeypatch.setenv(structured_log.VARIABLE, "json")
    with pytest.raises(SystemExit) as left:
        main(["show", "any", "--lake", str(tmp_path)])
    assert left.value.code == RunFailed.exit_code
    bug, ended = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert (bug["message"], ended["message"]) == ("ValueError", "a bug in Millrace")
    assert "in broken" in bug["trace"]
    assert "SECRET" not in json.dumps(ended)


def in_terminal(words: list[str], columns: int = 120) -> str:
    """What a command writes to a terminal of so many columns."""
    outer, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    with subprocess.Popen(
        words, cwd=ROOT, env=environment, stdin=inner, stdout=inner, stderr=inner, close_fds=True
    ) as command:
        os.close(inner)
        found = _read(outer)
        os.close(outer)
        assert command.wait(timeout=60) == 0, found
    return found


def _read(outer: int) -> str:
    found = b""
    read: Callable[[int, int], bytes] = os.read
    while True:
        try:
            piece = read(outer, 65536)
        except OSError:  # Linux says so when the other end is closed
            break
        if not piece:
            break
        found += piece
    return found.decode(errors="replace")
