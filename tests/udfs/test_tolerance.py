from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.calibration import GAIN, Measurement, chosen
from schemas.model import Tolerance
from udfs.tolerance import differences, within

DEFAULT = Tolerance()


def embeddings(rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    return {"embedding": np.random.default_rng(seed).standard_normal((rows, 8), np.float32)}


def test_equal_outputs_are_within_any_tolerance() -> None:
    same = embeddings(5)

    errors = differences(same, {"embedding": same["embedding"].copy()})

    assert errors == {"max_error": 0.0, "min_cosine": pytest.approx(1.0)}
    assert within(errors, Tolerance(min_cosine=0.999999, min_equal_labels=1.0), "int8")


def test_one_row_that_is_turned_decides_for_all() -> None:
    reference = embeddings(100)
    found = {"embedding": reference["embedding"].copy()}
    found["embedding"][37] = -found["embedding"][37]

    errors = differences(reference, found)

    assert errors["min_cosine"] == pytest.approx(-1.0)
    assert not within(errors, DEFAULT, "bf16")


@pytest.mark.parametrize(("wrong", "allowed"), [(0, True), (1, True), (2, False)])
def test_of_a_thousand_labels_one_may_differ(wrong: int, allowed: bool) -> None:
    reference = {"label": np.zeros(1000, np.int64), "score": np.ones(1000, np.float32)}
    found = {"label": reference["label"].copy(), "score": reference["score"]}
    found["label"][:wrong] = 1

    assert within(differences(reference, found), DEFAULT, "bf16") is allowed


def test_values_are_judged_by_their_own_spread() -> None:
    reference = {"value": np.array([1000.0, 1010.0], np.float32)}

    near = differences(reference, {"value": np.array([1000.05, 1010.0], np.float32)})
    far = differences(reference, {"value": np.array([1000.5, 1010.0], np.float32)})

    assert within(near, DEFAULT, "bf16")
    assert not within(far, DEFAULT, "bf16")


def test_fp32_must_give_the_numbers_of_fp32_whatever_the_tolerance_says() -> None:
    reference = embeddings(3)
    found = {"embedding": reference["embedding"] + np.float32(1e-3)}
    errors = differences(reference, found)

    assert within(errors, DEFAULT, "bf16")
    assert not within(errors, DEFAULT, "fp32")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_number_that_is_not_finite_in_one_of_them_is_infinitely_far(bad: float) -> None:
    reference = {"value": np.array([1.0, 2.0], np.float32)}
    found = {"value": np.array([1.0, bad], np.float32)}

    assert differences(reference, found)["max_error"] == np.inf
    assert not within(differences(reference, found), DEFAULT, "bf16")


def measured(*rates: float | None, within: tuple[bool, ...] = ()) -> list[Measurement]:
    names = [("torch", "fp32"), ("openvino", "bf16"), ("torch", "bf16"), ("onnxruntime", "int8")]
    good = within or (True,) * len(rates)
    return [
        Measurement(backend=b, precision=p, rows_per_s=rate, within=ok)
        for (b, p), rate, ok in zip(names, rates, good, strict=False)
    ]


def test_the_fastest_within_tolerance_is_taken_and_a_faster_one_outside_is_not() -> None:
    seen = measured(10.0, 20.0, 30.0, 40.0, within=(True, True, True, False))

    assert chosen(seen, "auto", "auto") == 2
    assert chosen(seen, "openvino", "auto") == 1
    assert chosen(seen, "auto", "int8") == 3  # the job's own word
    assert chosen(seen, "onnxruntime", "auto") is None


def test_what_gains_next_to_nothing_does_not_replace_fp32() -> None:
    assert chosen(measured(10.0, 10.0 * GAIN - 0.01), "auto", "auto") == 0
    assert chosen(measured(10.0, 10.0 * GAIN + 0.01), "auto", "auto") == 1


def test_what_was_not_measured_is_not_taken() -> None:
    assert chosen(measured(10.0, None, None), "auto", "auto") == 0
    assert chosen(measured(10.0, None), "openvino", "bf16") is None


@given(st.lists(st.tuples(st.floats(1, 1e6), st.booleans()), min_size=1, max_size=4))
def test_nothing_that_could_be_taken_is_much_faster_than_what_is(
    seen: list[tuple[float, bool]],
) -> None:
    rates, good = [rate for rate, _ in seen], (True, *(ok for _, ok in seen[1:]))

    place = chosen(measured(*rates, within=good), "auto", "auto")

    assert place is not None
    assert good[place]
    assert all(GAIN * rates[place] >= r for r, ok in zip(rates, good, strict=True) if ok)
