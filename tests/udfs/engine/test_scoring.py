from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from helpers import (
    image_cnn,
    image_table,
    images,
    loaded,
    pixel_mlp,
    series_lstm,
    tiny_bert,
    torch_loop,
    vector_mlp,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from millrace.schemas.errors import MillraceError, OutputMismatch
from millrace.schemas.model import ModelCard
from millrace.udfs.backends.gpu_usage import GpuUse
from millrace.udfs.engine.metering import LAPS, Meter, TaskAttempt
from millrace.udfs.engine.scoring import score
from millrace.udfs.engine.task_scoring import output_schema
from millrace.udfs.models.model_folder import write_card
from millrace.udfs.models.model_loading import Model
from millrace.udfs.runtime.plan import Plan, Runtime
from tests.udfs.runtime.test_decode import bomb, png

TOLERANCE = 1e-5
PLAN = Plan(inputs=("pixels",), passthrough=("id",))


@pytest.fixture(scope="module")
def mlp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pixel_mlp(tmp_path_factory.mktemp("mlp"))


def run(folder: Path, table: pa.Table, plan: Plan = PLAN, chunk: int = 1000) -> pa.Table:
    batches = table.to_batches(max_chunksize=chunk)
    return pa.Table.from_batches(score(batches, lambda: loaded(folder), plan, Meter(TaskAttempt())))


cells = st.none() | st.binary(min_size=16, max_size=16) | st.binary(max_size=17)


@settings(max_examples=40)
@given(
    st.lists(cells, min_size=1, max_size=40),
    st.integers(1, 45),
    st.integers(1, 45),
    st.integers(1, 45),
)
def test_predictions_equal_a_plain_torch_loop_whatever_the_cuts(
    mlp: Path, pixels: list[bytes | None], chunk: int, batch_rows: int, window_rows: int
) -> None:
    plan = Plan(("pixels",), ("id",), batch_rows, window_rows)

    found = run(mlp, image_table(pixels), plan, chunk).to_pylist()

    good = [row for row, cell in enumerate(pixels) if cell is not None and len(cell) == 16]
    labels, probabilities = torch_loop(mlp, [c for c in pixels if c is not None and len(c) == 16])
    assert [row["id"] for row in found] == list(range(len(pixels)))
    assert [row["id"] for row in found if row["error"] is None] == good
    for row, label, expected in zip((found[i] for i in good), labels, probabilities, strict=True):
        assert row["label"] == label
        assert np.abs(np.array(row["probabilities"]) - expected).max() <= TOLERANCE
        assert abs(row["score"] - expected.max()) <= TOLERANCE
    for row in found:
        if row["error"] is not None:
            assert (row["label"], row["score"], row["probabilities"]) == (None, None, None)
            assert row["error"]["kind"] == "decode"


@settings(max_examples=15)
@given(
    st.lists(st.text(max_size=30) | st.none(), min_size=1, max_size=12),
    st.integers(1, 14),
    st.integers(1, 14),
)
def test_texts_keep_their_rows_though_they_are_computed_by_length(
    embedder: Path, texts: list[str | None], batch_rows: int, window_rows: int
) -> None:
    table = pa.table({"id": range(len(texts)), "text": pa.array(texts, pa.string())})
    plan = Plan(("text",), ("id",), batch_rows, window_rows)

    found = run(embedder, table, plan).to_pylist()

    one_by_one = run(embedder, table, Plan(("text",), ("id",), 1, 1)).to_pylist()
    assert [row["id"] for row in found] == list(range(len(texts)))
    for row, alone in zip(found, one_by_one, strict=True):
        assert row["error"] == alone["error"]
        if row["error"] is None:
            assert row["embedding"] == pytest.approx(alone["embedding"], abs=TOLERANCE)


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("bert"), "embed")


def test_a_cnn_over_pngs_equals_the_network_itself(tmp_path: Path) -> None:
    folder = image_cnn(tmp_path)
    pictures = [png(4, 4, color=(i, 2 * i, 3 * i)) for i in range(7)]

    found = run(folder, pa.table({"content": pictures}), Plan(("content",), (), 2)).to_pylist()

    network = loaded(folder).runner.graph.network  # type: ignore[attr-defined]
    for number, row in enumerate(found):
        x = torch.tensor([number, 2 * number, 3 * number]).float().view(1, 3, 1, 1) / 255
        with torch.inference_mode():
            expected = torch.softmax(network(x.expand(1, 3, 4, 4)), dim=1)[0]
        assert row["probabilities"] == pytest.approx(expected.tolist(), abs=TOLERANCE)


@pytest.mark.parametrize("kind", ["array<float>", "array<double>"])
def test_embeddings_of_vectors_equal_a_plain_torch_loop(tmp_path: Path, kind: str) -> None:
    folder = vector_mlp(tmp_path, kind)
    vectors = np.random.default_rng(1).normal(size=(9, 4))
    column = pa.array(vectors.tolist(), pa.list_(pa.float32() if "float" in kind else pa.float64()))

    found = run(folder, pa.table({"vector": column}), Plan(("vector",), (), 4)).to_pylist()

    w = load_file(folder / "weights.safetensors")
    for row, vector in zip(found, vectors, strict=True):
        hidden = torch.relu(
            w["layers.1.weight"] @ torch.tensor(vector).float() + w["layers.1.bias"]
        )
        raw = w["layers.3.weight"] @ hidden + w["layers.3.bias"]
        assert row["embedding"] == pytest.approx((raw / raw.norm()).tolist(), abs=TOLERANCE)


def test_values_of_an_lstm_equal_the_network_row_by_row(tmp_path: Path) -> None:
    folder = series_lstm(tmp_path)
    series = np.random.default_rng(2).normal(size=(5, 6)).astype(np.float32)
    column = pa.array(series.tolist(), pa.list_(pa.float32()))

    found = run(folder, pa.table({"series": column}), Plan(("series",), (), 3)).to_pylist()

    network = loaded(folder).runner.graph.network  # type: ignore[attr-defined]
    for row, flat in zip(found, series, strict=True):
        with torch.inference_mode():
            expected = network(torch.tensor(flat).view(1, 3, 2))[0].tolist()
        assert row["values"] == pytest.approx(expected, abs=TOLERANCE)
        assert row["value"] == pytest.approx(expected[0], abs=TOLERANCE)


def test_an_image_bomb_and_a_corrupt_png_fail_alone(tmp_path: Path) -> None:
    folder = image_cnn(tmp_path)
    pictures = [png(4, 4), bomb(60_000, 60_000), png(4, 4)[:50], None, png(4, 4)]
    column = pa.array(pictures, pa.binary())

    found = run(folder, pa.table({"content": column}), Plan(("content",), ())).to_pylist()

    assert [row["error"] is None for row in found] == [True, False, False, False, True]
    assert found[0]["label"] == found[4]["label"]


# NaN


def poisoned(tmp_path: Path, **changes: Any) -> Path:
    """A model that gives NaN for images whose first pixel is white and a number for all others."""
    folder = pixel_mlp(tmp_path, **changes)
    weights = load_file(folder / "weights.safetensors")
    weights["layers.1.weight"][0] = 0
    weights["layers.1.weight"][0, 0] = 3e38  # times one is large, and twice as large is infinite
    weights["layers.1.bias"][0] = 0
    weights["layers.3.weight"][:, 0] = torch.tensor([3e38, -3e38, 0])
    save_file(weights, folder / "weights.safetensors")
    card = loaded_card(folder)
    write_card(folder, **card.model_dump(mode="json", exclude={"files"}, exclude_defaults=True))
    return folder


def loaded_card(folder: Path) -> ModelCard:
    import yaml

    return ModelCard.model_validate(yaml.safe_load((folder / "model.yaml").read_text("utf-8")))


MIXED = [b"\0" * 16, b"\xff" + b"\0" * 15, b"\0" * 16]


def test_a_row_whose_output_is_nan_is_an_error_of_kind_output(tmp_path: Path) -> None:
    found = run(poisoned(tmp_path), image_table(MIXED)).to_pylist()

    assert [row["error"] and row["error"]["kind"] for row in found] == [None, "output", None]
    assert (found[1]["label"], found[1]["score"], found[1]["probabilities"]) == (None, None, None)


def test_a_label_that_was_taken_from_nan_is_an_error_though_the_score_is_not_asked_for(
    tmp_path: Path,
) -> None:
    folder = poisoned(tmp_path, outputs={"label": {"type": "bigint"}})

    found = run(folder, image_table(MIXED)).to_pylist()

    assert [row["error"] and row["error"]["kind"] for row in found] == [None, "output", None]
    assert found[1]["label"] is None


# meters


@settings(max_examples=25)
@given(st.lists(cells, min_size=1, max_size=30), st.integers(1, 12), st.integers(1, 35))
def test_there_is_a_meter_on_the_first_row_of_each_window_and_the_sums_are_those_of_the_rows(
    mlp: Path, pixels: list[bytes | None], batch_rows: int, window_rows: int
) -> None:
    plan = Plan(("pixels",), ("id",), batch_rows, window_rows)

    rows = run(mlp, image_table(pixels), plan).to_pylist()

    metered = [row["id"] for row in rows if row["_meter"] is not None]
    assert metered == list(range(0, len(pixels), window_rows))
    meters = [row["_meter"] for row in rows if row["_meter"] is not None]
    failed = sum(cell is None or len(cell) != 16 for cell in pixels)
    assert sum(m["rows"] for m in meters) == len(pixels)
    assert sum(m["failed"] for m in meters) == failed
    assert sum(m["failed"] for m in meters) == sum(row["error"] is not None for row in rows)
    calls = 0
    for start in range(0, len(pixels), window_rows):
        part = pixels[start : start + window_rows]
        good = sum(cell is not None and len(cell) == 16 for cell in part)
        calls += -(-good // batch_rows)
    assert sum(m["model_batches"] for m in meters) == calls
    assert all(sum(m[lap] for lap in LAPS) <= m["wall_s"] + 0.001 for m in meters)
    assert all(m["tokens"] is None for m in meters)


def test_walls_sum_to_the_time_that_passed_waiting_and_loading_included(mlp: Path) -> None:
    batches = image_table(images(40)).to_batches(max_chunksize=10)

    def slow() -> Iterator[pa.RecordBatch]:
        for batch in batches:
            time.sleep(0.2)
            yield batch

    def load() -> Model:
        time.sleep(0.4)
        return loaded(mlp)

    started = time.perf_counter()
    plan = Plan(("pixels",), ("id",), 4, 10)
    out = pa.Table.from_batches(score(slow(), load, plan, Meter(TaskAttempt())))
    elapsed = time.perf_counter() - started

    meters = [m for m in out.column("_meter").to_pylist() if m is not None]
    assert len(meters) == 4
    assert sum(m["wall_s"] for m in meters) == pytest.approx(elapsed, rel=0.1)
    assert sum(m["wait_s"] for m in meters) == pytest.approx(0.8, rel=0.3)
    assert sum(m["load_s"] for m in meters) == pytest.approx(0.4, rel=0.5)
    assert sum(sum(m[lap] for lap in LAPS) for m in meters) >= 0.9 * elapsed


class Slow:
    """A model whose every call takes so many seconds more."""

    def __init__(self, inner: Model, seconds: float) -> None:
        self.card, self.device, self.runtime = inner.card, inner.device, inner.runtime
        self.decode, self._inner, self._seconds = inner.decode, inner, seconds

    def predict(self, values: Any) -> Any:
        time.sleep(self._seconds)
        return self._inner.predict(values)


@pytest.mark.parametrize("decode_ahead", [True, False])
def test_waiting_that_is_hidden_behind_compute_is_not_counted_beside_it(
    mlp: Path, decode_ahead: bool
) -> None:
    def late() -> Iterator[pa.RecordBatch]:
        for batch in image_table(images(50)).to_batches(max_chunksize=10):
            time.sleep(0.2)
            yield batch

    plan = Plan(("pixels",), ("id",), 10, 10, decode_ahead=decode_ahead)
    out = list(score(late(), lambda: Slow(loaded(mlp), 0.25), plan, Meter(TaskAttempt())))

    meters = [batch.column("_meter")[0].as_py() for batch in out]
    assert sum(m["compute_s"] for m in meters) >= 5 * 0.25
    assert sum(m["wait_s"] for m in meters) >= (0.2 if decode_ahead else 5 * 0.2)
    laps = sum(m[lap] for m in meters for lap in LAPS)
    assert laps <= sum(m["wall_s"] for m in meters) + 0.01


def test_the_time_that_a_slow_reader_of_results_takes_is_metered_too(mlp: Path) -> None:
    plan = Plan(("pixels",), ("id",), 4, 10)
    meters = []
    for batch in score(
        image_table(images(20)).to_batches(), lambda: loaded(mlp), plan, Meter(TaskAttempt())
    ):
        time.sleep(0.1)
        meters.append(batch.column("_meter")[0].as_py())

    assert meters[1]["emit_s"] >= 0.1


class InHost:
    """A model as its host on a GPU shows it: computed elsewhere, with the host's own clock."""

    device = "cuda:1"
    runtime = Runtime("cuda:1", "torch")

    def __init__(self, inner: Model) -> None:
        self.card, self.decode, self.predict = inner.card, inner.decode, inner.predict

    def gpu_used(self) -> GpuUse:
        return GpuUse(0.5, 7)


def test_a_model_that_a_host_computes_is_timed_by_the_host_alone(mlp: Path) -> None:
    batches = image_table(images(3)).to_batches()

    (out,) = score(batches, lambda: InHost(loaded(mlp)), PLAN, Meter(TaskAttempt()))

    # A clock of this process's own would need CUDA here: each call would be an error of its rows.
    assert out.column("error").null_count == 3
    meter = out.column("_meter")[0].as_py()
    assert (meter["gpu_busy_s"], meter["gpu_memory_bytes"]) == (0.5, 7)


def test_bytes_are_those_of_the_models_inputs_alone(mlp: Path) -> None:
    table = image_table(images(10)).append_column("more", pa.array(["x" * 1000] * 10))

    found = run(mlp, table, Plan(("pixels",), ("id", "more"))).to_pylist()

    assert 160 <= found[0]["_meter"]["bytes"] < 400


# shape of what comes out


def test_the_columns_are_those_that_output_schema_says(mlp: Path) -> None:
    table = image_table([*images(3), None])

    found = run(mlp, table)

    passed = pa.schema([pa.field("id", pa.int64())])
    assert found.schema.equals(output_schema(passed, loaded(mlp).card.signature))


def test_no_batches_load_no_model_and_give_nothing() -> None:
    def never() -> Model:
        raise AssertionError

    empty = [*image_table([]).to_batches(), pa.RecordBatch.from_pylist([], image_table([]).schema)]
    assert list(score(empty, never, PLAN, Meter(TaskAttempt()))) == []


def test_a_window_in_which_every_row_fails_has_errors_and_a_meter(mlp: Path) -> None:
    found = run(mlp, image_table([None, b"x"])).to_pylist()

    assert [row["error"]["kind"] for row in found] == ["decode", "decode"]
    assert found[0]["_meter"]["failed"] == 2
    assert found[0]["_meter"]["model_batches"] == 0


class Stub:
    """The shortest real model: the engine asks for no more than these five."""

    device = "cpu"
    runtime = Runtime("cpu")

    def __init__(self, outputs: dict[str, Any], signature: dict[str, Any], folder: Path) -> None:
        self.card = loaded_card(pixel_mlp(folder, outputs=signature))
        self._inner, self._outputs = loaded(folder), outputs

    def decode(self, batch: pa.RecordBatch) -> Any:
        return self._inner.decode(batch)

    def predict(self, _values: Any) -> dict[str, Any]:
        return self._outputs


@pytest.mark.parametrize(
    ("outputs", "signature", "named", "got", "allowed"),
    [
        ({"score": np.zeros(40)}, {"label": {"type": "bigint"}}, "label", "score", "label"),
        (
            {"probabilities": np.zeros((40, 4))},
            {"probabilities": {"type": "array<float>", "shape": [3]}},
            "probabilities",
            "[40, 4] float64",
            "[40, 3] array<float>",
        ),
        ({"label": np.full(40, 0.5)}, {"label": {"type": "bigint"}}, "label", "", "bigint"),
        (
            {"label": np.zeros(41, np.int64)},
            {"label": {"type": "bigint"}},
            "label",
            "[41] int64",
            "[40] bigint",
        ),
    ],
    ids=["missing name", "wrong width", "wrong type", "wrong number of rows"],
)
def test_an_output_that_does_not_fit_its_signature_names_column_got_and_allowed(
    tmp_path: Path, outputs: Any, signature: Any, named: str, got: str, allowed: str
) -> None:
    model = Stub(outputs, signature, tmp_path)

    with pytest.raises(OutputMismatch, match=named) as caught:
        list(score(image_table(images(40)).to_batches(), lambda: model, PLAN, Meter(TaskAttempt())))

    assert got in str(caught.value.got)
    assert caught.value.allowed == allowed
    assert caught.value.exit_code == 5


def test_what_the_model_raises_is_raised(mlp: Path) -> None:
    def load() -> Model:
        raise MillraceError("no")

    with pytest.raises(MillraceError, match="no"):
        list(score(image_table(images(2)).to_batches(), load, PLAN, Meter(TaskAttempt())))


# what is loaded


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("millrace.udfs.engine.scoring", ["pyspark", "torch", "transformers", "pandas"]),
        ("millrace.udfs.models.model_loading", ["pyspark", "torch"]),
        ("millrace.udfs.worker.functions", ["torch", "transformers"]),
        ("millrace.pipelines.score", ["torch", "transformers", "great_expectations"]),
        ("millrace.pipelines.cli", ["torch", "pyspark", "great_expectations", "pandas"]),
        ("millrace.schemas.config", ["torch", "pyspark"]),
    ],
)
def test_importing_a_module_does_not_load_what_is_heavy(module: str, absent: list[str]) -> None:
    code = f"import sys, {module}; print([m for m in {absent} if m in sys.modules])"

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"
