from __future__ import annotations

from typing import Any

import pytest

from benches import stored
from benches.contestants import MILLRACE, PREDICT_BATCH
from benches.targets import Target, added_by_second_worker, targets
from tests.benches.results_made import a_result, a_round


def scaling(**seconds: float) -> dict[str, Any]:
    result = stored.empty("scaling", "docs", "more rows", 25)
    result["runs"] = {name: [a_round(one, worked_s=one / 2)] for name, one in seconds.items()}
    return result


def found(results: dict[tuple[str, str], Any], what: str) -> Target:
    (one,) = [one for one in targets(results) if what in one.what]
    return one


def test_nothing_measured_is_neither_met_nor_missed() -> None:
    assert [one.is_met for one in targets({})] == [None] * len(targets({}))
    assert len(targets({})) > 20


def test_a_target_is_met_at_its_bound_and_not_beyond() -> None:
    assert Target("x", 0.95, least=0.95).is_met
    assert not Target("x", 0.949, least=0.95).is_met
    assert not Target("x", 4.3, least=3.8, most=4.2).is_met


def test_speed_is_compared_with_the_best_loop_of_the_same_result() -> None:
    seconds = {"plain_torch": [9.0], "tuned_fp32": [4.0], "tuned_openvino": [2.0], MILLRACE: [2.5]}
    one = found({("contest", "docs"): a_result(seconds)}, "texts, `auto`: steady rows/s ÷ best")
    assert one.measured == pytest.approx(2.0 / 2.5)
    assert "OpenVINO" in one.note
    assert one.is_met is False


def test_the_slowest_margin_over_any_peer_decides_on_the_whole_process() -> None:
    seconds = {PREDICT_BATCH: [10.0], "daft": [4.0], "ray": [30.0], MILLRACE: [5.0]}
    one = found({("contest", "docs"): a_result(seconds)}, "texts, whole process")
    assert one.measured == pytest.approx(5 / 4)
    assert one.is_met is False
    assert "Daft class UDF 1.25" in one.note


def test_loops_are_no_peers() -> None:
    result = a_result({"tuned_bf16": [1.0], PREDICT_BATCH: [10.0], MILLRACE: [5.0]})
    assert found({("contest", "docs"): result}, "texts, whole process").is_met


def test_four_times_the_rows_may_take_four_times_as_long_within_five_percent() -> None:
    for grown, is_met in ((8.0, True), (8.5, False), (7.5, False)):
        result = {("scaling", "docs"): scaling(rows_1x=2.0, rows_4x=grown)}
        assert found(result, "texts, rows N").is_met is is_met


def test_two_hundred_partitions_are_compared_with_eight_of_the_same_rows() -> None:
    result = {("scaling", "docs"): scaling(rows_1x=2.0, rows_4x=10.0, partitions_200=11.5)}
    one = found(result, "texts, 8 → 200")
    assert one.measured == pytest.approx(1.15)
    assert one.is_met is False


def test_a_second_worker_adds_what_two_take_beyond_one() -> None:
    result = scaling(rows_1x=2.0, workers_1=4.0)
    for name, workers in (("rows_1x", 650), ("workers_1", 500)):
        result["runs"][name][0]["peak_pss_bytes_of"] = {"driver": 90, "workers": workers}
    assert added_by_second_worker(result) == pytest.approx(0.3)


def test_wrong_answers_miss_their_target_and_tell_how_far_they_are() -> None:
    answers = {"equal": False, "min_cosine": 0.88, "max_abs_difference": 0.25}
    result = a_result({MILLRACE: [1.0]}, **{MILLRACE: {"answers": answers}})
    one = found({("contest", "docs"): result}, "texts, `auto`: all rows")
    assert one.is_met is False
    assert "min cosine 0.88" in one.note
