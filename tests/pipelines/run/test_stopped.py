"""A run that a signal stops: what its exit code is, what it says is committed, what the tables count."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from millrace.pipelines import cli
from millrace.pipelines.api import jobs
from millrace.pipelines.console.signals import Terminated, stopped
from millrace.pipelines.query.committed_rows import Committed
from millrace.pipelines.run import inference_pass
from millrace.schemas.config import Job
from tests.helpers import image_table, images, job_of, rows, write_parquet


@pytest.mark.parametrize(
    ("error", "code", "by"), [(KeyboardInterrupt(), 130, "Ctrl-C"), (Terminated(), 5, "SIGTERM")]
)
def test_ctrl_c_is_130_and_sigterm_a_failure_to_be_tried_again(
    error: KeyboardInterrupt, code: int, by: str
) -> None:
    error.add_note("run a: 1 of 2 units committed")
    told = stopped(error)
    assert (told.exit_code, told.got) == (code, "run a: 1 of 2 units committed")
    assert by in told.what
    assert "resume" in (told.next or "")


def test_every_command_ends_with_130_at_ctrl_c(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(jobs, "load_job_file", interrupted)
    for command in ("run", "plan", "validate"):
        assert CliRunner().invoke(cli.main, [command, "job.yaml"]).exit_code == 130


@pytest.mark.spark
def test_a_stopped_run_says_and_stores_what_is_committed(
    score: Callable[..., Any], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_parquet(tmp_path / "input", image_table([*images(8), b"short"]))
    job = job_of(tmp_path, model)
    parts = job.model_dump(mode="json", exclude_unset=True)
    parts["contract"]["rules"] = [{"name": "whole", "holds": "length(pixels) = 16"}]
    done = inference_pass.score_units

    def then_stopped(*given: Any) -> float:
        done(*given)
        raise KeyboardInterrupt

    monkeypatch.setattr(inference_pass, "score_units", then_stopped)
    with pytest.raises(KeyboardInterrupt) as caught:
        score(type(job).model_validate(parts))

    (note,) = caught.value.__notes__
    assert "1 of 1 units committed, with 8 scored, 1 quarantined and 0 failed rows" in note
    (run,) = rows(tmp_path / "lake", "SELECT * FROM runs_current")
    assert (run["state"], run["scored"], run["quarantined"], run["failed"]) == ("stopped", 8, 1, 0)
    assert (run["units_done"], run["units_total"]) == (1, 1)
    assert run["detail"] == "KeyboardInterrupt: stopped by Ctrl-C at a safe point"


@pytest.mark.spark
def test_a_run_stopped_before_its_first_commit_says_that_the_next_one_scores_all_rows(
    score: Callable[..., Any], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_parquet(tmp_path / "input", image_table([*images(8), b"short"]))
    parts = job_of(tmp_path, model).model_dump(mode="json", exclude_unset=True)
    parts["contract"]["rules"] = [{"name": "whole", "holds": "length(pixels) = 16"}]
    job = Job.model_validate(parts)

    def stopped_at_once(*_: Any) -> float:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(inference_pass, "score_units", stopped_at_once)
        with pytest.raises(KeyboardInterrupt) as caught:
            score(job)

    (note,) = caught.value.__notes__
    said = "no unit is committed; 1 quarantined rows are kept; the next run scores all rows"
    assert note.partition(": ")[2] == said
    again = score(job)  # as it says
    assert (again.scored, again.quarantined) == (8, 1)
    assert again.run_id in note
    assert str(Committed(0, 0, 0, 0, None)) == "no unit is committed; the next run scores all rows"


def test_a_missing_job_file_names_what_an_installed_millrace_has() -> None:
    told = CliRunner().invoke(cli.main, ["run", "nowhere.yaml"])
    assert told.exit_code == 2
    assert "validate --suggest" in told.output
    for command in (None, *cli.main.commands):
        words = ["--help"] if command is None else [command, "--help"]
        assert "conf/jobs" not in CliRunner().invoke(cli.main, words).output
