from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from millrace.schemas.errors import OutputMismatch
from millrace.schemas.model import Signature, SignatureColumn
from millrace.udfs.runtime.outputs import checked, column_of, not_finite


def signature(**outputs: dict[str, Any]) -> Signature:
    return Signature.model_validate({"inputs": {"x": {"type": "int"}}, "outputs": outputs})


PROMISED = signature(label={"type": "bigint"}, probabilities={"type": "array<float>", "shape": [3]})
GOOD = {"label": np.zeros(2, np.int64), "probabilities": np.zeros((2, 3), np.float32)}


def test_outputs_that_fit_come_back_in_the_order_of_the_signature() -> None:
    given = dict(reversed(GOOD.items())) | {"more": np.zeros(1)}

    assert list(checked(given, PROMISED, 2)) == ["label", "probabilities"]


def test_a_missing_output_is_named_with_what_there_is_and_what_was_promised() -> None:
    with pytest.raises(OutputMismatch) as caught:
        checked({"label": GOOD["label"]}, PROMISED, 2)

    assert "probabilities" in caught.value.what
    assert (caught.value.got, caught.value.allowed) == ("label", "label, probabilities")


@pytest.mark.parametrize(
    ("name", "values", "got"),
    [
        ("probabilities", np.zeros((2, 4), np.float32), "[2, 4] float32"),
        ("probabilities", np.zeros((3, 3), np.float32), "[3, 3] float32"),
        ("probabilities", np.zeros(2, np.float32), "[2] float32"),
        ("label", np.zeros((2, 1), np.int64), "[2, 1] int64"),
        ("label", np.zeros(1, np.int64), "[1] int64"),
    ],
)
def test_an_output_of_another_shape_is_named_with_got_and_allowed(
    name: str, values: Any, got: str
) -> None:
    with pytest.raises(OutputMismatch) as caught:
        checked({**GOOD, name: values}, PROMISED, 2)

    assert repr(name) in caught.value.what
    assert caught.value.got == got
    assert PROMISED.outputs[name].type in str(caught.value.allowed)


def test_a_list_of_any_width_may_be_any_wide_but_must_be_one() -> None:
    loose = signature(embedding={"type": "array<float>"})

    assert checked({"embedding": np.zeros((2, 9))}, loose, 2)["embedding"].shape == (2, 9)
    with pytest.raises(OutputMismatch):
        checked({"embedding": np.zeros(2)}, loose, 2)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.array([1.5]), "bigint"),
        (np.array([300]), "tinyint"),
        (np.array(["a"], dtype=object), "bigint"),
        (np.array(["a", 1], dtype=object), "string"),
        (np.array([[0.5, 1.0]]), "array<int>"),
        (np.array([1.0]), "date"),
    ],
)
def test_values_that_the_declared_type_cannot_hold_are_a_mismatch_that_names_both(
    values: Any, kind: str
) -> None:
    with pytest.raises(OutputMismatch) as caught:
        column_of("score", values, SignatureColumn(type=kind))

    assert "'score'" in caught.value.what
    assert kind in caught.value.what
    assert caught.value.allowed == kind
    assert caught.value.got


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (np.array([1, 2]), "string", ["1", "2"]),
        (np.array(["é", "😀"], dtype=object), "string", ["é", "😀"]),
        (np.array([1.5, 2.5], np.float32), "double", [1.5, 2.5]),
        (np.array([[1.0], [2.0]]), "array<double>", [[1.0], [2.0]]),
        (np.zeros((2, 0), np.float32), "array<float>", [[], []]),
        (np.zeros((0, 3), np.float32), "array<float>", []),
    ],
)
def test_values_become_the_declared_type(values: Any, kind: str, expected: list[Any]) -> None:
    assert column_of("v", values, SignatureColumn(type=kind)).to_pylist() == expected


def test_a_transposed_array_keeps_its_rows() -> None:
    values = np.arange(6.0).reshape(2, 3).T  # not contiguous

    assert (
        column_of("v", values, SignatureColumn(type="array<double>")).to_pylist() == values.tolist()
    )


def test_rows_with_nan_or_infinity_are_found_in_any_output() -> None:
    outputs = {
        "a": np.array([1.0, np.nan, 1.0, 1.0]),
        "b": np.array([[1.0, 1.0], [1.0, 1.0], [1.0, -np.inf], [1.0, 1.0]]),
        "c": np.array([1, 2, 3, 4]),
        "d": np.array(["nan"] * 4, dtype=object),
    }

    assert not_finite(outputs, 4).tolist() == [False, True, True, False]


def test_checked_arrays_are_not_copied() -> None:
    assert checked(GOOD, PROMISED, 2)["probabilities"] is GOOD["probabilities"]
    assert isinstance(column_of("v", GOOD["label"], SignatureColumn(type="bigint")), pa.Int64Array)
