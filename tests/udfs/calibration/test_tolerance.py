from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.schemas.calibration import GAIN, Measurement, chosen
from millrace.schemas.model import Tolerance
from millrace.udfs.calibration.tolerance import differences, within

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


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_row_that_the_reference_cannot_compute_neither_hides_nor_makes_a_difference(
    bad: float,
) -> None:
    values = np.array([1.0, bad, 3.0], np.float32)
    reference = {"value": values, "values": np.stack([values, values], axis=1)}
    off = {name: one + np.float32(0.5) for name, one in reference.items()}
    near = {"value": np.array([1.0, 7.0, 3.0], np.float32), "values": reference["values"]}

    assert not within(differences(reference, off), DEFAULT, "bf16")
    assert not within(differences(reference, off), DEFAULT, "fp32")
    assert within(differences(reference, near), DEFAULT, "bf16")
    assert within(differences(reference, near), DEFAULT, "fp32")


def test_an_embedding_of_nan_in_the_reference_declines_no_lower_precision() -> None:
    reference = embeddings(3)
    reference["embedding"][1] = np.nan

    errors = differences(reference, {"embedding": reference["embedding"].copy()})

    assert errors == {"max_error": 0.0, "min_cosine": pytest.approx(1.0)}
    assert within(errors, DEFAULT, "bf16")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_outside_though_its_label_is_the_same(bad: float) -> None:
    reference = {"label": np.zeros(3, np.int64), "score": np.ones(3, np.float32)}
    found = {"label": reference["label"], "score": np.array([1.0, 1.0, bad], np.float32)}

    assert not within(differences(reference, found), DEFAULT, "bf16")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_embedding_that_is_not_finite_is_outside(bad: float) -> None:
    reference = embeddings(3)
    found = {"embedding": reference["embedding"].copy()}
    found["embedding"][2, 4] = bad

    assert not within(differences(reference, found), DEFAULT, "bf16")


def test_where_the_reference_computed_no_row_nothing_is_known_to_be_within() -> None:
    nothing = {"value": np.full(4, np.nan, np.float32)}

    assert not within(differences(nothing, nothing), DEFAULT, "bf16")
    assert not within(differences(nothing, nothing), DEFAULT, "fp32")


def test_a_spread_that_float32_does_not_hold_is_still_a_number() -> None:
    reference = {"value": np.array([-3e38, 3e38, 0.0], np.float32)}
    found = {"value": np.array([-3e38, 3e38, 1e38], np.float32)}

    assert not within(differences(reference, found), DEFAULT, "bf16")


@pytest.mark.parametrize(
    ("kind", "precision"),
    [
        ("max_error", "fp32"),
        ("max_error", "bf16"),
        ("min_cosine", "bf16"),
        ("equal_labels", "bf16"),
        ("max_relative_error", "bf16"),
    ],
)
def test_what_is_not_a_number_is_never_within(kind: str, precision: str) -> None:
    assert not within({"max_error": 0.0} | {kind: np.nan}, DEFAULT, precision)


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
    assert chosen(seen, "onnxruntime", "int8") == 3  # the job's own word
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
    may = [r for at, (r, ok) in enumerate(zip(rates, good, strict=True)) if ok and at < 3]
    assert place < 3  # ONNX Runtime's int8 depends on the batch
    assert all(GAIN * rates[place] >= rate for rate in may)
