"""Calibration on real models: what is measured, against what, and what is left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from safetensors.torch import load_file, save_file

from millrace.schemas.calibration import CalibrationRequest, Measurement, chosen, merged
from millrace.schemas.errors import UsageError
from millrace.udfs.calibration import measure, trials
from millrace.udfs.models import model_loading
from millrace.udfs.models.model_folder import write_card
from tests.helpers import brittle_bert, images, pixel_mlp, tiny_bert

LONG = 10**10  # rows of a run that pays for measuring anything


def request(folder: Path, converted: Path, **changes: Any) -> CalibrationRequest:
    wanted: dict[str, Any] = {
        "folder": str(folder),
        "digest": model_loading.digest_of(folder),
        "device": "cpu",
        "backend": "auto",
        "precision": "auto",
        "expected_rows": LONG,
        "slots": 2,
        "converted": str(converted),
    }
    return CalibrationRequest(**wanted | changes)


def measured(wanted: CalibrationRequest, sample: pa.RecordBatch) -> list[Measurement]:
    return merged(measure.measurements(wanted, sample))


@pytest.fixture(scope="module")
def mlp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pixel_mlp(tmp_path_factory.mktemp("model") / "mlp")


@pytest.fixture(scope="module")
def sample() -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"pixels": pa.array(images(300), pa.binary())})


@pytest.fixture(scope="module")
def seen(
    mlp: Path, sample: pa.RecordBatch, tmp_path_factory: pytest.TempPathFactory
) -> list[Measurement]:
    wanted = request(mlp, tmp_path_factory.mktemp("converted"), backend="openvino")
    return measured(wanted, sample)


def test_the_models_own_format_in_fp32_comes_first_and_all_are_compared_with_it(
    seen: list[Measurement], mlp: Path
) -> None:
    reference, *others = seen

    assert (reference.backend, reference.precision) == ("torch", "fp32")
    assert Path(reference.folder) == mlp
    assert others
    assert {one.backend for one in others} == {"openvino"}
    for one in others:
        assert one.rows_per_s is not None, one.why
        assert one.errors["equal_labels"] >= 0.99
        assert one.errors["max_error"] <= 0.05
    assert any(one.precision == "fp32" and one.errors["max_error"] <= 1e-5 for one in others)


def test_what_is_chosen_can_be_loaded_from_the_folder_that_was_measured(
    seen: list[Measurement], sample: pa.RecordBatch
) -> None:
    place = chosen(seen, "openvino", "fp32")

    assert place is not None
    best = seen[place]
    from millrace.udfs.runtime.plan import Runtime

    model = model_loading.load(
        Path(best.folder), best.digest, Runtime("cpu", best.backend, best.precision)
    )
    outputs = model.predict(model.decode(sample).values)
    assert len(outputs["label"]) == sample.num_rows


def test_a_conversion_is_made_once_and_made_again_where_it_was_damaged(
    mlp: Path, sample: pa.RecordBatch, tmp_path: Path
) -> None:
    wanted = request(mlp, tmp_path, backend="onnxruntime", precision="fp32")
    first = measured(wanted, sample)[-1]
    graph = next(Path(first.folder).glob("*.onnx"))
    made_at = graph.stat().st_mtime_ns

    measured(wanted, sample)
    assert graph.stat().st_mtime_ns == made_at

    graph.write_bytes(graph.read_bytes()[:-1])
    model_loading._LOADED.clear()
    assert measured(wanted, sample)[-1].digest == first.digest
    assert graph.stat().st_mtime_ns != made_at


def test_a_short_run_measures_nothing_but_its_batch_size_and_says_so(
    mlp: Path, sample: pa.RecordBatch, tmp_path: Path
) -> None:
    reference, *others = measured(request(mlp, tmp_path, expected_rows=10), sample)

    assert reference.batch_cost is not None
    assert others
    assert all(one.rows_per_s is None for one in others)
    assert all(one.why.startswith("not measured: the run takes about 0 s") for one in others)


def test_the_only_way_that_a_job_asks_for_is_measured_however_short_the_run(
    mlp: Path, sample: pa.RecordBatch, tmp_path: Path
) -> None:
    wanted = request(mlp, tmp_path, backend="openvino", precision="fp32", expected_rows=10)

    *_, only = measured(wanted, sample)

    assert (only.backend, only.precision) == ("openvino", "fp32")
    assert only.rows_per_s


def test_a_precision_that_is_too_far_from_fp32_is_declined_by_itself(
    tmp_path: Path, sample: pa.RecordBatch
) -> None:
    strict = pixel_mlp(tmp_path / "strict")
    card = (strict / "model.yaml").read_text("utf-8")
    (strict / "model.yaml").write_text(card + "tolerance:\n  min_equal_labels: 1.0\n", "utf-8")
    noisy = sample.take(pa.array(np.arange(300)))
    wanted = request(strict, tmp_path / "converted", backend="torch", precision="auto")

    found = {one.precision: one for one in measured(wanted, noisy) if one.rows_per_s}

    for precision, one in found.items():
        expected = precision == "fp32" or one.errors["equal_labels"] == 1.0
        assert one.within is expected
        assert bool(one.why) is not expected


def test_texts_are_measured_too_and_their_batches_are_counted_in_tokens(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "bert", "embed")
    texts = pa.RecordBatch.from_pydict({"text": ["good day " * (n % 9 + 1) for n in range(64)]})
    wanted = request(folder, tmp_path / "converted", backend="openvino", precision="fp32")

    *_, only = measured(wanted, texts)

    assert only.errors["min_cosine"] == pytest.approx(1.0, abs=1e-5)
    assert only.batch_cost is not None
    assert only.batch_cost >= 64


def test_onnx_runtimes_int8_is_declined_with_its_reason_unless_the_job_pins_both(
    mlp: Path, tmp_path: Path, sample: pa.RecordBatch
) -> None:
    seen = measured(request(mlp, tmp_path, backend="onnxruntime"), sample)

    (int8,) = [one for one in seen if one.precision == "int8"]
    assert int8.rows_per_s is None
    assert int8.why == measure.BATCH_DEPENDENT
    place = chosen(seen, "onnxruntime", "auto")
    assert place is not None
    assert seen[place].precision == "fp32"
    known = [one.model_copy(update={"rows_per_s": 1e9, "within": True}) for one in seen]
    assert chosen(known, "auto", "auto") != known.index(
        int8.model_copy(update={"rows_per_s": 1e9, "within": True})
    )
    pinned = measured(request(mlp, tmp_path, backend="onnxruntime", precision="int8"), sample)
    assert pinned[-1].rows_per_s


def test_a_backend_that_is_not_there_is_refused(mlp: Path, tmp_path: Path, sample: Any) -> None:
    wanted = request(mlp, tmp_path, backend="openvino", precision="int8")

    with pytest.raises(UsageError, match="cannot be computed as the job asks"):
        measured(wanted, sample)


@pytest.mark.parametrize("far", [np.inf, -np.inf, np.nan])
def test_a_difference_that_is_not_finite_is_told_like_any_other(far: float) -> None:
    one = Measurement(backend="torch", precision="fp16", errors={"max_error": far, "off": 0.5})

    loaded = Measurement.model_validate_json(one.model_dump_json())

    assert loaded.errors == pytest.approx(one.errors, nan_ok=True)


def test_a_precision_in_which_numbers_overflow_is_declined_and_the_run_goes_on(
    tmp_path: Path, sample: pa.RecordBatch
) -> None:
    folder = overflowing(tmp_path / "model")
    wanted = request(folder, tmp_path / "converted", backend="torch")

    reference, *others = trials.measured(wanted, sample)

    assert reference.within
    assert chosen([reference, *others], "auto", "auto") == 0
    for one in others:  # which there are depends on the machine
        assert not one.within
        if one.precision == "bf16":
            assert one.errors["max_error"] == np.inf


def overflowing(folder: Path) -> Path:
    """A model with a weight that fp32 holds, while bf16 and fp16 round it to infinity."""
    pixel_mlp(folder)
    weights = load_file(folder / "weights.safetensors")
    weights["layers.1.weight"][0, 0] = 3.4e38
    weights["layers.3.weight"][:, 0] = 0
    save_file(weights, folder / "weights.safetensors")
    loaded = model_loading.read_card(folder).model_dump(
        mode="json", exclude={"files"}, exclude_defaults=True
    )
    write_card(folder, **loaded)
    return folder


def test_a_child_process_measures_and_leaves_nothing_loaded_here(
    mlp: Path, tmp_path: Path, sample: pa.RecordBatch
) -> None:
    seen = trials.measured(request(mlp, tmp_path, expected_rows=10), sample)

    assert seen[0].rows_per_s
    assert len(seen) > 1


def test_a_model_that_cannot_be_read_is_told_with_the_childs_own_words(
    tmp_path: Path, sample: pa.RecordBatch
) -> None:
    folder = pixel_mlp(tmp_path / "broken")
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")

    (only,) = trials.measured(request(folder, tmp_path / "converted"), sample)

    assert only.rows_per_s is None
    assert "weights.safetensors" in only.why


def test_a_row_that_breaks_the_model_leaves_nothing_measured_and_says_why(tmp_path: Path) -> None:
    folder = brittle_bert(tmp_path / "bert")
    texts = pa.RecordBatch.from_pydict({"text": ["good day"] * 40 + ["good night"]})

    (only,) = trials.measured(request(folder, tmp_path / "converted"), texts)

    assert only.rows_per_s is None
    assert "IndexError" in only.why


@pytest.mark.parametrize("rows", [1, 300])
def test_a_sample_without_a_row_that_can_be_decoded_measures_nothing_and_says_so(
    mlp: Path, tmp_path: Path, rows: int
) -> None:
    unreadable = pa.RecordBatch.from_pydict({"pixels": pa.array([b"short"] * rows, pa.binary())})

    (only,) = measured(request(mlp, tmp_path), unreadable)

    assert only.rows_per_s is None
    assert not only.within
    assert only.why == "not one row of the sample could be decoded"


def test_rows_that_can_be_decoded_are_looked_for_where_the_first_looked_at_cannot(
    mlp: Path, tmp_path: Path
) -> None:
    looked_at = set(np.linspace(0, 299, 32).astype(int).tolist())
    cells = [None if row in looked_at else cell for row, cell in enumerate(images(300))]
    mixed = pa.RecordBatch.from_pydict({"pixels": pa.array(cells, pa.binary())})

    reference, *_ = measured(request(mlp, tmp_path, expected_rows=10), mixed)

    assert reference.rows_per_s


def test_a_sample_is_bounded_in_rows_and_none_for_no_rows() -> None:
    batches = [pa.RecordBatch.from_pydict({"n": list(range(3000))})] * 3

    found = trials.sample_of(iter(batches))

    assert found is not None
    assert found.num_rows == trials.SAMPLE_ROWS
    assert trials.sample_of(iter([])) is None
