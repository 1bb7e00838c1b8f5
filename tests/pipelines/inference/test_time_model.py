"""Forecasts are pure functions: distinct primes go in, so that a wrong term cannot cancel."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.pipelines.inference.time_model import (
    LEVEL,
    LinearTime,
    Observation,
    RunTimeModel,
    Workload,
    around,
    blend,
    differ,
    fit,
    quantile,
    stray,
)

SIZES = [(13, 1009, 101), (29, 1013, 997), (53, 5003, 211), (101, 4001, 3001), (211, 20011, 1009), (499, 30011, 9001)]  # fmt: skip
times = st.floats(0.01, 100)
ratios = st.lists(st.floats(0.2, 5), max_size=12)


def seen(line: LinearTime) -> list[Observation]:
    amounts = [Workload(rows, tokens, size) for rows, tokens, size in SIZES]
    return [Observation(amount, line.seconds(amount)) for amount in amounts]


def test_a_line_is_the_sum_of_all_its_parts() -> None:
    line = LinearTime(fixed_s=2, per_row_s=3, per_token_s=5, per_byte_s=7)
    assert line.growing_s(Workload(11, 13, 17)) == 3 * 11 + 5 * 13 + 7 * 17
    assert line.seconds(Workload(11, 13, 17)) == 2 + 3 * 11 + 5 * 13 + 7 * 17


def test_a_run_is_what_it_takes_once_and_a_unit_and_what_grows_over_the_slots() -> None:
    shape = RunTimeModel(once_s=2, unit_s=3, growing=LinearTime(5, 7, 11, 13), slots=17)
    told = shape.seconds(Workload(19, 23, 29), units=31, slots=37)
    assert told == pytest.approx(2 + 3 * 31 + (7 * 19 + 11 * 23 + 13 * 29) * 17 / 37)


@pytest.mark.parametrize(
    "line",
    [
        LinearTime(2, 3),
        LinearTime(2, 0, 5),
        LinearTime(2, 3, 5),
        LinearTime(2, 3, 0, 5),
        LinearTime(0, 3),
        LinearTime(7),
    ],
)
def test_the_line_behind_exact_measurements_is_found(line: LinearTime) -> None:
    found = fit(seen(line))
    asked = Workload(100_003, 7_000_003, 50_000_017)
    assert found.seconds(asked) == pytest.approx(line.seconds(asked), rel=1e-6)


@given(st.lists(st.tuples(st.integers(1, 10**6), times), min_size=1, max_size=8))
def test_no_part_of_a_fit_is_negative_and_more_never_takes_less(
    measured: list[tuple[int, float]],
) -> None:
    line = fit([Observation(Workload(rows, 3 * rows, 7 * rows), s) for rows, s in measured])
    assert min(line.fixed_s, line.per_row_s, line.per_token_s, line.per_byte_s) >= 0
    assert line.seconds(Workload(10**7, 10**8, 10**8)) >= line.seconds(Workload(1, 3, 7))


def test_a_fit_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no measurement"):
        fit([])


def test_measurements_that_scatter_are_less_sure() -> None:
    def scattered(by: float) -> float:
        signs = [1, -1, 1, 1, -1, -1]
        told = [
            Observation(one.amount, one.seconds * (1 + by * sign))
            for one, sign in zip(seen(LinearTime(2, 3)), signs, strict=True)
        ]
        return stray(told, fit(told), Workload(100_003))

    assert 0 < scattered(0.02) < scattered(0.2)
    flat = LinearTime(7)  # hundreds of rows say little of a hundred thousand
    assert stray(seen(flat), flat, Workload(100_003)) > stray(seen(flat), flat, Workload(499)) > 0


def test_lines_are_added_part_by_part() -> None:
    assert LinearTime(2, 3, 5, 7) + LinearTime(11, 13, 17, 19) == LinearTime(13, 16, 22, 26)


def test_an_interval_of_a_line_holds_the_truth_eight_times_of_ten_where_noise_is_as_assumed() -> (
    None
):
    rng = np.random.default_rng(5)
    line, asked, inside = LinearTime(2, 0.003), Workload(50_000), 0
    for _ in range(400):
        told = [
            Observation(
                amount, line.seconds(amount) + rng.normal(0, 0.15) * line.seconds(amount) ** 0.5
            )
            for amount in [
                Workload(64),
                Workload(64),
                Workload(256),
                Workload(1024),
                Workload(1024),
            ]
        ]
        off = quantile(6) * stray(told, fit(told), asked)
        inside += abs(fit(told).seconds(asked) - line.seconds(asked)) <= off
    assert inside / 400 == pytest.approx(LEVEL, abs=0.08)


@given(st.floats(0.1, 1e6), st.floats(0, 2), st.integers(1, 50))
def test_an_interval_holds_its_forecast_and_narrows_with_what_is_known(
    mid: float, relative: float, freedom: int
) -> None:
    told, surer = around(mid, relative, freedom), around(mid, relative, freedom + 1)
    assert told.low <= told.mid == mid <= told.high
    assert surer.high <= told.high * (1 + 1e-12)
    assert told.high / told.mid == pytest.approx(told.mid / told.low)


def test_the_quantiles_are_students() -> None:
    rng = np.random.default_rng(2)
    for freedom in (1, 2, 5, 10):
        drawn = np.abs(rng.standard_t(freedom, 200_000)) <= quantile(freedom)
        assert drawn.mean() == pytest.approx(LEVEL, abs=0.005)
    assert quantile(math.inf) == quantile(11) < quantile(10)


@given(st.floats(0.1, 1e4), st.floats(0.001, 2), ratios)
def test_past_runs_draw_a_forecast_towards_them_and_never_past_them(
    mid: float, unsure: float, ratios: list[float]
) -> None:
    told = blend(mid, unsure, ratios)
    assert told.low <= told.mid <= told.high
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else 1.0
    inside = sorted((1.0, mean))
    assert inside[0] - 1e-9 <= told.mid / mid <= inside[1] + 1e-9


def test_a_blend_weighs_by_how_sure_each_is() -> None:
    # Three runs took 2, 2 and 2 times as long as foreseen: differing by the prior alone.
    told = blend(5, unsure=0.7, ratios=[2, 2, 2], prior=0.11)
    of_mean = differ([2, 2, 2], 0.11) ** 2 / 3
    assert told.mid == pytest.approx(5 * 2 ** (0.7**2 / (0.7**2 + of_mean)))
    assert blend(5, unsure=0.0, ratios=[2, 2, 2]).mid == pytest.approx(5)


def test_runs_that_differ_widen_the_interval_and_a_common_factor_does_not() -> None:
    assert differ([]) == pytest.approx(0.12)
    assert differ([3, 3, 3, 3]) < differ([])
    assert differ([1, 3, 1, 3]) > differ([])
    assert differ([1, 3, 7]) == pytest.approx(differ([5, 15, 35]))


def test_of_ten_truths_eight_are_inside_where_errors_are_as_assumed() -> None:
    rng = np.random.default_rng(3)
    inside = 0
    for _ in range(2000):
        past = list(np.exp(rng.normal(math.log(1.7), 0.2, 6)))
        told = blend(11, unsure=0.6, ratios=past, prior=0.2)
        inside += told.low <= 11 * math.exp(rng.normal(math.log(1.7), 0.2)) <= told.high
    assert inside / 2000 == pytest.approx(LEVEL, abs=0.06)
