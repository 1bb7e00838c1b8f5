from __future__ import annotations

import pytest

from benches import figures
from benches.contestants import MILLRACE, PLAIN, PREDICT_BATCH
from benches.figures import STEADY
from tests.benches.results_made import THREE, a_result


def test_a_median_is_taken_of_each_number_and_inside_of_one_level() -> None:
    rounds = [
        {"wall_s": 7, "executor_s": {"infer": 1.0}, "is_closed": True, "told": "x"},
        {"wall_s": 2, "executor_s": {"infer": 5.0}, "is_closed": True, "told": "x"},
        {"wall_s": 3, "executor_s": {"infer": 2.0}, "is_closed": True, "told": "x"},
    ]
    assert figures.medians(rounds) == {"wall_s": 3, "executor_s": {"infer": 2.0}}


def test_a_number_that_a_round_lacks_has_no_median() -> None:
    assert figures.medians([{"a": 1, "b": 2}, {"a": 3, "b": None}, {"a": 5}]) == {"a": 3}


def test_speeds_are_rows_by_the_seconds_of_stage_steady_part_and_process() -> None:
    found = figures.with_speeds({"stage_s": 5.0, "steady_s": 2.0, "wall_s": 7.0}, rows=70)
    assert (found["rows_per_s"], found[STEADY]) == (14.0, 35.0)
    assert found["whole_process_rows_per_s"] == 10.0


def test_a_ratio_is_of_medians_so_that_more_is_better() -> None:
    result = a_result(THREE)  # medians of the steady seconds: 7, 13, 2
    assert figures.ratio(result, MILLRACE, PLAIN, STEADY) == pytest.approx(7 / 2, abs=0.02)
    assert figures.ratio(result, MILLRACE, PREDICT_BATCH, "wall_s") == pytest.approx(2 / 13)


def test_a_contestant_that_did_not_run_has_no_ratio() -> None:
    result = a_result({MILLRACE: [1.0]})
    assert figures.ratio(result, MILLRACE, PLAIN, STEADY) is None
    assert figures.ratio(result, "daft", MILLRACE, STEADY) is None
    assert figures.best_loop(result) is None


def test_the_best_loop_is_the_fastest_whose_answers_are_right() -> None:
    seconds = {PLAIN: [9.0], "tuned_fp32": [5.0], "tuned_bf16": [1.0], PREDICT_BATCH: [0.5]}
    assert figures.best_loop(a_result(seconds)) == "tuned_bf16"
    wrong = a_result(seconds, tuned_bf16={"right": False})
    assert figures.best_loop(wrong) == "tuned_fp32"


def test_one_wrong_round_makes_a_contestant_wrong() -> None:
    result = a_result({MILLRACE: [1.0, 1.0]})
    assert figures.is_right(result, MILLRACE)
    result["runs"][MILLRACE][1]["answers"]["equal"] = False
    assert not figures.is_right(result, MILLRACE)


@pytest.mark.parametrize(("workload", "share"), [("docs", 0.05), ("digits", 0.15)])
def test_the_conversion_share_leaves_start_up_load_and_tokenising_out(
    workload: str, share: float
) -> None:
    laps = {"wall_s": 17.0, "startup_s": 5.0, "load_s": 2.0, "decode_s": 1.0, "convert_s": 0.5}
    result = a_result({MILLRACE: [1.0]}, workload, **{MILLRACE: {"laps": laps}})
    assert figures.conversion_share(result, MILLRACE) == pytest.approx(share)
