"""One suite for all: whatever the format, backend and precision, a model gives the same answers."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from ways import FORMATS, ROWS, SUBJECTS, Folders, Way, ways

from millrace.schemas.errors import ModelError, RunFailed
from millrace.udfs.engine.metering import Meter, TaskAttempt
from millrace.udfs.engine.scoring import score
from millrace.udfs.models.model_loading import digest_of, load, read_card, runtimes
from millrace.udfs.runtime.plan import Plan, Runtime

# The largest difference from plain torch in fp32, of a probability, a coordinate or a value. The
# networks here are random and narrow: a rounding error is a larger share of them than of a trained one.
BOUNDS = {"fp32": 1e-5, "bf16": 0.02, "fp16": 0.005, "int8": 0.06}
# How far a row may move with its neighbours (docs/adr/0011). Matrix products choose their blocks by
# shape; and ONNX Runtime's int8 scales a batch's activations together.
NEIGHBOURS = {"fp32": 1e-6, "bf16": 0.02, "fp16": 0.005, "int8": 0.06}
# Compiling takes long, and is torch's business more than ours.
COMPILED = {("mlp", "fp32"), ("embedder", "bf16")}


def _marked(way: Way) -> Any:
    slow = way.runtime.backend == "torch_compile"
    return pytest.param(way, id=str(way), marks=[pytest.mark.slow] if slow else [])


WAYS = [
    _marked(way)
    for way in ways()
    if way.runtime.backend != "torch_compile" or (way.subject, way.runtime.precision) in COMPILED
]
each_way = pytest.mark.parametrize("way", WAYS)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return Folders(tmp_path_factory.mktemp("conformance"))


def scored(
    folders: Folders, way: Way, cells: Sequence[Any], batch_rows: int = 4
) -> list[dict[str, Any]]:
    """What the engine makes of the cells."""
    model = folders.model(way)
    (column,) = model.card.signature.inputs
    batch = pa.record_batch({column: pa.array(cells, SUBJECTS[way.subject].kind)})
    plan = Plan(inputs=(column,), batch_rows=batch_rows)
    parts = list(score([batch], lambda: model, plan, Meter(TaskAttempt())))
    return [row for part in parts for row in part.to_pylist()]


def numbers(rows: Sequence[dict[str, Any]]) -> NDArray[np.float64]:
    """``[rows, width]``: the widest output, or the score where there is no other."""
    (name,) = [n for n in ("probabilities", "embedding", "values", "score") if n in rows[0]][:1]
    return np.array([np.atleast_1d(row[name]) for row in rows], np.float64)


@each_way
def test_answers_are_those_of_plain_torch_in_fp32(folders: Folders, way: Way) -> None:
    rows = scored(folders, way, SUBJECTS[way.subject].cells)

    expected, found = folders.expected(way.subject), numbers(rows)
    if found.shape[1] == 1 and "score" in rows[0]:
        assert [row["label"] for row in rows] == [
            ["negative", "positive"][i] for i in expected.argmax(axis=1)
        ]
        expected = expected.max(axis=1, keepdims=True)
    assert [row["error"] for row in rows] == [None] * ROWS
    assert np.abs(found - expected).max() <= BOUNDS[way.runtime.precision]


@each_way
def test_a_row_does_not_depend_on_the_batch_or_the_order_that_it_is_computed_in(
    folders: Folders, way: Way
) -> None:
    cells = SUBJECTS[way.subject].cells
    whole = numbers(scored(folders, way, cells, ROWS))

    for batch_rows in (1, 2, 5):
        again = numbers(scored(folders, way, cells, batch_rows))
        assert np.abs(again - whole).max() <= NEIGHBOURS[way.runtime.precision]
    order = np.random.default_rng(1).permutation(ROWS)
    turned = numbers(scored(folders, way, [cells[i] for i in order], 5))
    assert np.abs(turned - whole[order]).max() <= NEIGHBOURS[way.runtime.precision]


@each_way
def test_the_same_call_twice_gives_the_same_bits(folders: Folders, way: Way) -> None:
    cells = SUBJECTS[way.subject].cells

    first, second = (numbers(scored(folders, way, cells)) for _ in range(2))

    assert np.array_equal(first, second)


@each_way
def test_one_row_alone_and_no_row_at_all_are_batches_too(folders: Folders, way: Way) -> None:
    (cell, *_), expected = SUBJECTS[way.subject].cells, folders.expected(way.subject)[0]

    (row,) = scored(folders, way, [cell])

    found = numbers([row])[0]
    wanted = [expected.max()] if len(found) == 1 and "score" in row else expected
    assert np.abs(found - wanted).max() <= BOUNDS[way.runtime.precision]
    assert scored(folders, way, []) == []


@each_way
def test_a_row_that_cannot_be_read_fails_alone(folders: Folders, way: Way) -> None:
    subject = SUBJECTS[way.subject]
    good = numbers(scored(folders, way, subject.cells[:3], 2))

    rows = scored(folders, way, [subject.broken, *subject.cells[:3], subject.broken], 2)

    assert [row["error"] and row["error"]["kind"] for row in rows] == [
        "decode", None, None, None, "decode",
    ]  # fmt: skip
    moved = np.abs(numbers(rows[1:4]) - good).max()
    assert moved <= NEIGHBOURS[way.runtime.precision]
    only_broken = scored(folders, way, [subject.broken] * 3)
    assert all(row["error"]["kind"] == "decode" for row in only_broken)


@each_way
def test_a_model_says_on_what_it_runs(folders: Folders, way: Way) -> None:
    model = folders.model(way)

    assert model.runtime == way.runtime
    assert model.device == "cpu"
    assert way.runtime in runtimes(model.card, "cpu")


@pytest.mark.parametrize("subject", ["embedder", "classifier"])
@pytest.mark.parametrize("name", FORMATS)
def test_texts_of_any_mix_of_lengths_give_what_each_gives_alone(
    folders: Folders, subject: str, name: str
) -> None:
    (runtime, *_) = runtimes(read_card(folders.folder(subject, name)), "cpu")
    way = Way(subject, name, runtime)
    texts = ["a", "good day " * 40, "the night", "!" * 31, "bad", "good " * 17]

    together = numbers(scored(folders, way, texts, len(texts)))

    alone = np.concatenate([numbers(scored(folders, way, [text])) for text in texts])
    assert np.abs(together - alone).max() <= NEIGHBOURS[runtime.precision]


@pytest.mark.parametrize("name", FORMATS)
def test_a_folder_that_is_not_the_one_the_driver_saw_is_refused(
    folders: Folders, name: str
) -> None:
    folder = folders.folder("mlp", name)
    (runtime, *_) = runtimes(read_card(folder), "cpu")

    with pytest.raises(ModelError, match="changed during the run"):
        load(folder, "0" * 64, runtime)


@pytest.mark.parametrize("name", FORMATS)
def test_every_file_of_a_format_is_checked_before_it_is_read(
    folders: Folders, name: str, tmp_path: Path
) -> None:
    source = folders.folder("embedder", name)
    for file in read_card(source).files:
        folder = tmp_path / file.replace("/", "_")
        shutil.copytree(source, folder)
        content = bytearray((folder / file).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / file).write_bytes(content)

        with pytest.raises(ModelError, match="is not the one") as caught:
            load(folder, digest_of(folder), runtimes(read_card(folder), "cpu")[0])

        assert file in str(caught.value)


@pytest.mark.parametrize("name", FORMATS)
def test_a_runtime_that_cannot_be_had_is_refused_with_what_there_is(
    folders: Folders, name: str
) -> None:
    folder = folders.folder("mlp", name)
    there = runtimes(read_card(folder), "cpu")
    wrong = [
        Runtime("cpu", backend, precision)
        for backend in ("torch", "torch_compile", "onnxruntime", "openvino", "tensorrt")
        for precision in ("fp32", "bf16", "fp16", "int8", "fp8")
        if Runtime("cpu", backend, precision) not in there
    ]
    assert wrong

    for runtime in wrong:
        with pytest.raises(RunFailed, match="cannot be run") as caught:
            load(folder, digest_of(folder), runtime)
        for one in there:
            assert f"{one.backend} {one.precision}" in str(caught.value.allowed)
