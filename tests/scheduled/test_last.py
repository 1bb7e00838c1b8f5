"""Which run a DAG's step asks the lake about; its query alone, without an Airflow."""

from __future__ import annotations

import runpy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from millrace.pipelines.lake import runs
from millrace.pipelines.lake.fencing import Driver
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.lake.runs import Run
from millrace.pipelines.query.engine import query
from tests.scheduled.home import ROOT

last_of = runpy.run_path(str(ROOT / "deploy" / "airflow" / "millrace_last.py"))["last_of"]
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
JOB = {"job": "digits", "model_digest": "ab" * 32, "input": {"sha256": "cd" * 32}}


def told(lake: Path, run_id: str, hour: int, state: str, *, replays: str | None = None) -> None:
    """A run over the day's input, from its first event to its last."""
    facts = runs.facts(JOB["input"], "mlp:1", JOB["model_digest"], {}, replays=replays)  # type: ignore[arg-type]
    run = Run(run_id, f"of {run_id}", "digits", facts, Driver(lake), number=hour)
    at = NOON + timedelta(hours=hour)
    run = runs.append_event(LakeLocation(lake), run, "started", at)
    runs.append_event(LakeLocation(lake), run, state, at + timedelta(minutes=5), scored=hour)


def asked(lake: Path, **how: Any) -> tuple[str, str] | None:
    """The run that the query finds, and its state."""
    found = query(LakeLocation(lake), last_of(JOB, **how)).to_pylist()
    return (found[0]["run_id"], found[0]["state"]) if found else None


@pytest.mark.parametrize("how", [{}, {"done": True}])
def test_a_replay_of_the_day_is_not_the_days_run(tmp_path: Path, how: dict[str, bool]) -> None:
    told(tmp_path, "whole", 1, "done")
    told(tmp_path, "some", 2, "done", replays="whole")

    assert asked(tmp_path, **how) == ("whole", "done")


def test_what_is_published_is_done_whatever_was_tried_since(tmp_path: Path) -> None:
    told(tmp_path, "first", 1, "done")
    told(tmp_path, "corrected", 2, "refused")

    assert asked(tmp_path, done=True) == ("first", "done")
    # What a driver on a cluster has ended with is told by the last of them, whatever it is.
    assert asked(tmp_path) == ("corrected", "refused")


def test_the_last_run_that_is_done_is_published_and_none_of_another_input(tmp_path: Path) -> None:
    told(tmp_path, "first", 1, "done")
    told(tmp_path, "second", 2, "done")
    assert asked(tmp_path, done=True) == ("second", "done")

    other = JOB | {"input": {"sha256": "ef" * 32}}
    assert query(LakeLocation(tmp_path), last_of(other, done=True)).num_rows == 0
