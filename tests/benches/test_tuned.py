from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benches import tuned
from benches.loops import cells_of, column_of


@given(st.lists(st.integers(1, 256), min_size=1, max_size=300), st.integers(1, 4096))
def test_a_budget_of_tokens_is_kept_and_every_text_is_in_one_batch(
    lengths: list[int], budget: int
) -> None:
    batches = list(tuned.budgeted(lengths, budget))
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[row] for row in batch)
        assert longest * len(batch) <= budget or len(batch) == 1


def test_texts_come_back_in_their_order(tmp_path: object) -> None:
    def compute(tokens: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return (tokens * mask).sum(axis=1, keepdims=True).astype(np.float32)

    ids = [[5], [1, 2, 3], [7, 7], [9, 1, 1, 1]]
    index = list(tuned.budgeted([len(one) for one in ids], 4))
    found = np.concatenate([compute(*tuned.padded([ids[row] for row in at])) for at in index])
    back = np.argsort(np.concatenate(index), kind="stable")
    assert found[back][:, 0].tolist() == [5, 6, 14, 12]


def test_padding_is_masked() -> None:
    tokens, mask = tuned.padded([[4, 5, 6], [7]])
    assert tokens.tolist() == [[4, 5, 6], [7, 0, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]


def test_images_are_read_without_a_python_object_for_each(tmp_path: object) -> None:
    from pathlib import Path

    cells = [bytes([number]) * 784 for number in range(10)]
    rows = pa.table({"pixels": pa.array(cells, pa.binary())}).slice(3)
    seen = []

    def compute(pixels: np.ndarray) -> dict[str, np.ndarray]:
        seen.append(pixels.shape)
        return {"label": pixels[:, 0, 0, 0].astype(np.int32)}

    found = tuned.images(Path(), compute, rows)
    assert found["label"].tolist() == [3, 4, 5, 6, 7, 8, 9]
    assert seen == [(7, 1, 28, 28)]


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pa.array([1.5, 2.5]), np.ndarray),
        (pa.array([1, 2]), np.ndarray),
        (pa.array(["a", "b"]), list),
        (pa.array([b"a", b"b"]), list),
    ],
)
def test_numbers_reach_a_model_as_arrays_and_anything_else_as_values(
    column: pa.Array, kind: type
) -> None:
    assert isinstance(cells_of(column), kind)
    assert list(cells_of(column)) == column.to_pylist()


def test_outputs_become_columns_of_their_width() -> None:
    assert column_of(np.array([1, 2], np.int32)).to_pylist() == [1, 2]
    assert column_of(np.array([[1.0, 2.0], [3.0, 4.0]])).to_pylist() == [[1, 2], [3, 4]]
