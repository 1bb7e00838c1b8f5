"""What past runs tell: read back from real tables, and in distinct primes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from millrace.pipelines.inference.run_history import (
    PastRun,
    comparable,
    inference,
    inference_range,
    past_runs,
    sampled_range,
)
from millrace.pipelines.lake import delta
from millrace.pipelines.lake.location import LakeLocation
from millrace.schemas.tables import LEDGER, RUNS

AT = datetime(2026, 11, 24, tzinfo=UTC)


def past(rows: int, infer_s: float, slots: int = 2, steady_s: float | None = None) -> PastRun:
    return PastRun(f"r{rows}", rows, 1, infer_s + 3, infer_s, slots, "x", steady_s)


def event(run_id: str, number: int, state: str, **more: Any) -> dict[str, Any]:
    settings = json.dumps({"slots": 3, "instance": "x"})
    about = {"run_id": run_id, "number": number, "state": state, "event": number, "at": AT}
    return {"job": "j", "model_digest": "d", "settings": settings, **about, **more}


def test_runs_of_several_sizes_tell_what_is_fixed_and_what_grows() -> None:
    line = inference([past(100, 5 + 0.07 * 100), past(1100, 5 + 0.07 * 1100)], slots=2)
    assert (line.fixed_s, line.per_row_s) == (pytest.approx(5), pytest.approx(0.07))


def test_runs_of_one_size_tell_it_by_the_ledger() -> None:
    line = inference([past(101, 13, steady_s=14), past(103, 17, steady_s=22)], slots=2)
    assert line.fixed_s == pytest.approx(((13 - 7) + (17 - 11)) / 2)
    assert line.per_row_s == pytest.approx((14 + 22) / 2 / (101 + 103))


def test_without_a_ledger_all_of_it_grows() -> None:
    line = inference([past(101, 13)], slots=2)
    assert (line.fixed_s, line.per_row_s) == (0, pytest.approx(13 / 101))


def test_runs_on_other_slots_count_only_where_there_is_no_other() -> None:
    both = [past(101, 13, slots=2), past(103, 17, slots=5)]
    assert comparable(both, 5) == both[1:]
    assert comparable(both, 7) == both
    assert inference(both[:1], slots=7).per_row_s == pytest.approx(13 * 2 / 101 / 7)


def test_what_is_far_from_all_past_sizes_is_less_sure() -> None:
    runs = [past(100, 12), past(1100, 82)]
    near, far = inference_range(runs, 2, 500), inference_range(runs, 2, 500_000)
    assert far.high / far.mid > near.high / near.mid
    assert near.mid == pytest.approx(5 + 0.07 * 500, rel=0.02)


def test_a_rate_of_a_sample_is_of_one_worker() -> None:
    assert sampled_range(7, slots=3, rows=2100).mid == pytest.approx(100)


def test_only_runs_that_were_done_in_one_attempt_with_this_model_tell(tmp_path: Path) -> None:
    done = {"scored": 90, "failed": 7, "units_total": 2, "wall_s": 11.0, "infer_s": 5.0}
    events = [
        event("a", 1, "started"), event("a", 1, "done", **done),
        event("b", 2, "started"), event("b", 2, "resumed"), event("b", 2, "done", **done),
        event("c", 3, "started"), event("c", 3, "failed"),
        event("d", 4, "done", **done, model_digest="other"),
        event("e", 5, "done", **done, settings="{}"),
        event("f", 6, "done", **{**done, "scored": 0, "failed": 0}),
        event("g", 7, "done", **done, settings='{"slots": 3, "instance": "x", "cache": "table"}'),
    ]  # fmt: skip
    delta.append_values(events, LakeLocation(tmp_path), RUNS, "t")
    charged = [
        {"x_RunId": run, "x_Job": "j", "SkuMeter": meter, "x_CostKind": kind, "x_SlotMs": ms}
        for run, meter, kind, ms in [
            ("a", "Core", "useful", 2000), ("a", "Core", "read", 3000), ("a", "Core", "write", 5000),
            ("a", "Core", "startup", 70_000), ("a", "Memory", "useful", 110_000), ("b", "Core", "useful", 1),
        ]
    ]  # fmt: skip
    delta.append_values(charged, LakeLocation(tmp_path), LEDGER, "t")

    assert past_runs(LakeLocation(tmp_path), "j", "d") == [
        PastRun("a", 97, 2, 11.0, 5.0, 3, "x", 10.0)
    ]
    assert past_runs(LakeLocation(tmp_path / "nothing"), "j", "d") == []
