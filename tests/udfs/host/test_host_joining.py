from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.schemas.errors import RunFailed
from millrace.udfs.host.batch_joining import JoinLimits, joinable, joined, split
from millrace.udfs.host.payload import cost_of, owned, packed, unpacked
from millrace.udfs.host.shared_memory import Area
from millrace.udfs.runtime.examples import Values

sequences = st.lists(
    st.lists(st.integers(0, 30_000), min_size=1, max_size=40), min_size=1, max_size=9
)
texts = sequences.map(lambda rows: [np.array(row, np.int32) for row in rows])
shapes = st.sampled_from([(2, 2), (3,)])
kinds = st.sampled_from([np.uint8, np.float32])


@st.composite
def arrays(draw: st.DrawFn) -> Values:
    shape = (draw(st.integers(1, 9)), *draw(shapes))
    drawn = np.random.default_rng(draw(st.integers(0, 99)))
    return drawn.integers(0, 255, shape).astype(draw(kinds))


questions = st.lists(texts | arrays(), min_size=1, max_size=12)
limits = st.builds(JoinLimits, st.integers(1, 40), st.integers(1, 400))


def same(one: Values, other: Values) -> bool:
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    return len(one) == len(other) and all(map(np.array_equal, one, other))


def computed(values: Values) -> dict[str, np.ndarray[Any, Any]]:
    """A model whose output for a row depends on that row alone."""
    sums = np.array([float(np.sum(row)) for row in values])
    return {"sum": sums, "pair": np.stack([sums, -sums], axis=1)}


@given(questions, limits)
def test_joined_questions_get_the_answers_that_each_would_get_alone(
    questions: list[Values], limit: JoinLimits
) -> None:
    left, answers = list(range(len(questions))), {}
    while left:
        waiting = [questions[number] for number in left]
        chosen = [left[index] for index in joinable(waiting, limit)]
        batch = joined([questions[number] for number in chosen])
        parts = split(computed(batch), [len(questions[number]) for number in chosen])
        answers |= dict(zip(chosen, parts, strict=True))
        assert chosen[0] == left[0]  # who came first never waits for others
        left = [number for number in left if number not in chosen]

    for number, values in enumerate(questions):
        alone = computed(values)
        assert all(np.array_equal(answers[number][name], alone[name]) for name in alone)


@given(questions, limits)
def test_a_joined_batch_is_within_its_limit_and_pads_little(
    questions: list[Values], limit: JoinLimits
) -> None:
    chosen = joinable(questions, limit)

    costs = [cost_of(questions[index]) for index in chosen]
    together = sum(rows for rows, _ in costs) * max(longest for _, longest in costs)
    if len(chosen) > 1:
        most = limit.rows if isinstance(questions[0], np.ndarray) else limit.tokens
        assert together <= most
        assert together <= 1.1 * sum(rows * longest for rows, longest in costs)


def test_questions_that_wait_are_put_together_up_to_the_limit() -> None:
    images = [np.zeros((10, 4, 4), np.uint8)] * 5
    short, long = [np.ones(10, np.int32)] * 4, [np.ones(100, np.int32)] * 4

    assert joinable(images, JoinLimits(rows=30, tokens=1)) == [0, 1, 2]
    assert joinable([short, long, short], JoinLimits(rows=1, tokens=1000)) == [0, 2]
    assert joinable([long, short, long], JoinLimits(rows=1, tokens=1000)) == [0, 2]
    assert joinable([long, long], JoinLimits(rows=1, tokens=500)) == [0]


def outputs() -> Mapping[str, Values]:
    drawn = np.random.default_rng(0)
    return {
        "label": np.array(["good", "שלום", ""], dtype=object),
        "number": np.array([1, -2, 3], np.int64),
        "is_so": np.array([True, False, True]),
        "score": np.array([0.5, np.nan, np.inf], np.float32),
        "half": np.array([0.5, 1, 2], np.float16),
        "vector": drawn.normal(size=(3, 5)).astype(np.float32),
        "map": drawn.normal(size=(3, 2, 4)),
        "tokens": [np.array([1, 2, 3], np.int32), np.array([], np.int32), np.array([7], np.int32)],
    }


def test_outputs_of_every_kind_come_out_of_shared_memory_as_they_went_in() -> None:
    area = Area.made()

    found = unpacked(area.read(area.write(packed(outputs()))))

    for name, values in outputs().items():
        if isinstance(values, np.ndarray):
            assert found[name].dtype == values.dtype
            assert found[name].shape == values.shape
            np.testing.assert_array_equal(found[name], values)
        else:
            assert same(found[name], values)
    area.close()


@given(questions)
def test_questions_come_out_of_shared_memory_as_they_went_in_whatever_came_before(
    questions: list[Values],
) -> None:
    area = Area.made()
    reader = Area(area.descriptor)

    for values in questions:
        size = area.write(packed({"values": values}))
        assert same(unpacked(reader.read(size))["values"], values)

    area.close()


def test_an_owned_answer_does_not_change_with_the_memory_it_came_from() -> None:
    area = Area.made()
    answer = owned(unpacked(area.read(area.write(packed({"score": np.ones(4)})))))

    area.write(packed({"score": np.zeros(4)}))

    assert answer["score"].tolist() == [1, 1, 1, 1]
    area.close()


def test_memory_that_could_shrink_under_its_reader_is_refused() -> None:
    with pytest.raises(RunFailed, match="may shrink"):
        Area.given(os.memfd_create("unsealed", os.MFD_ALLOW_SEALING))
    area = Area.made()
    with pytest.raises(PermissionError):
        os.ftruncate(area.descriptor, 1)
    area.close()
