"""Which way a run computes: found once, told in a table, kept by every attempt and by later runs."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from millrace.pipelines.console.progress import Progress
from millrace.pipelines.inference import calibration, calibration_store
from millrace.pipelines.inference.calibration import choose_config
from millrace.pipelines.job.model_check import verified_model
from millrace.pipelines.job.prepared_job import prepare
from millrace.pipelines.lake import live_rows
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.reporting.run_page import _way
from millrace.pipelines.run.runner import run
from millrace.schemas.calibration import CalibrationRequest, Measurement
from millrace.schemas.config import Job
from millrace.schemas.errors import MillraceError
from millrace.udfs.calibration import trials
from millrace.udfs.models.model_folder import write_card
from millrace.udfs.models.model_loading import read_card
from tests.helpers import brittle_bert, image_table, images, job_of, pixel_mlp, write_parquet

pytestmark = pytest.mark.spark

AT = datetime(2026, 1, 1, tzinfo=UTC)
OPENVINO = {"backend": "openvino", "precision": "fp32"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pixel_mlp(tmp_path_factory.mktemp("model") / "mlp")


def test_what_an_earlier_version_converted_otherwise_is_neither_measured_nor_taken(
    tmp_path: Path,
) -> None:
    plain = verified_model(job_of(tmp_path, pixel_mlp(tmp_path / "plain")))
    step = {"name": "pixels", "options": {"scale": 0.5, "mean": [0.5]}}
    moved = verified_model(job_of(tmp_path, pixel_mlp(tmp_path / "moved", preprocess=step)))

    assert (
        calibration.conversions(LakeLocation(tmp_path), plain)
        == tmp_path / "_models" / plain.digest[:16]
    )
    made = calibration.conversions(LakeLocation(tmp_path), moved)
    assert made == tmp_path / "_models" / moved.digest[:16] / "2"
    asked = CalibrationRequest(folder=str(moved.folder), digest=moved.digest, device="cpu", backend="auto",
                    precision="auto", expected_rows=9, slots=1, converted=str(made))  # fmt: skip
    for folder, is_taken in ((made.parent / "onnx", False), (made / "onnx", True)):
        folder.mkdir(parents=True)
        told = {"rows_per_s": 1.0, "why": "", "expected_rows": 9, "chosen": True}
        assert (
            calibration_store.is_usable([told | {"folder": str(folder), "digest": "x"}], asked)
            == is_taken
        )


def job_with(tmp: Path, model: Path, rows: int = 40, **engine: Any) -> Job:
    write_parquet(tmp / "input", image_table(images(rows)))
    return job_of(tmp, model, engine=engine)


def calibrations(lake: Path) -> list[dict[str, Any]]:
    return live_rows.rows(DeltaTable(str(lake / "calibrations"))).to_pylist()


def predictions(lake: Path) -> list[dict[str, Any]]:
    rows = live_rows.rows(DeltaTable(str(lake / "predictions_tiny"))).to_pylist()
    return sorted(rows, key=lambda row: row["id"])


@pytest.mark.slow
def test_a_job_that_asks_for_openvino_is_computed_by_it_from_a_folder_converted_for_the_run(
    spark: SparkSession, model: Path, tmp_path: Path
) -> None:
    summary = run(spark, job_with(tmp_path, model, **OPENVINO), Progress(quiet=True))

    assert (summary.backend, summary.precision, summary.scored) == ("openvino", "fp32", 40)
    rows = predictions(tmp_path / "lake")
    meters = [row["_meter"] for row in rows if row["_meter"]]
    assert {(m["backend"], m["precision"]) for m in meters} == {("openvino", "fp32")}
    told = calibrations(tmp_path / "lake")
    assert [row["backend"] for row in told if row["chosen"]] == ["openvino"]
    assert {row["run_id"] for row in told} == {summary.run_id}
    assert {row["model_digest"] for row in rows} == {told[0]["model_digest"]}


@pytest.mark.slow
def test_fp32_gives_the_same_predictions_whatever_the_backend(
    spark: SparkSession, model: Path, tmp_path: Path
) -> None:
    found = []
    for name, engine in (("torch", {"backend": "torch", "precision": "fp32"}), ("ov", OPENVINO)):
        (tmp_path / name).mkdir()
        run(spark, job_with(tmp_path / name, model, **engine), Progress(quiet=True))
        found.append(predictions(tmp_path / name / "lake"))

    for one, other in zip(*found, strict=True):
        assert one["label"] == other["label"]
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-5)


def test_too_little_work_is_not_measured_and_says_so(
    spark: SparkSession, model: Path, tmp_path: Path
) -> None:
    summary = run(spark, job_with(tmp_path, model), Progress(quiet=True))

    assert (summary.backend, summary.precision) == ("torch", "fp32")
    assert "too little work" in str(summary.computed_so_because)
    assert not (tmp_path / "lake" / "calibrations").exists()
    settings = live_rows.rows(DeltaTable(str(tmp_path / "lake" / "runs"))).to_pylist()
    assert {"torch"} == {
        json.loads(row["settings"])["backend"] for row in settings if row["state"] == "done"
    }


def test_an_attempt_that_goes_on_with_a_run_takes_what_the_first_one_took(
    spark: SparkSession, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepare(spark, job_with(tmp_path, model, **OPENVINO))
    first = choose_config(spark, prepared, "tiny-1", AT)

    def never(*_: Any) -> Any:
        raise AssertionError("measured again")

    monkeypatch.setattr(calibration, "sample", never)
    second = choose_config(spark, prepared, "tiny-1", AT)

    assert second == replace(first, why="as the run's first attempt")


def test_a_later_run_of_the_model_on_the_same_machine_starts_from_what_was_measured(
    spark: SparkSession, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepare(spark, job_with(tmp_path, model, **OPENVINO))
    first = choose_config(spark, prepared, "tiny-1", AT)
    measured = calibrations(prepared.lake.root)

    def never(*_: Any) -> Any:
        raise AssertionError("in one machine no worker has to be asked")

    monkeypatch.setattr(calibration, "sample", never)
    second = choose_config(spark, prepared, "tiny-2", AT)

    assert second == first
    rows = calibrations(prepared.lake.root)
    assert len(rows) == 2 * len(measured)
    assert len({row["rows_per_s"] for row in rows}) == len(measured)  # the very same figures


def test_a_difference_that_is_not_finite_is_kept_as_json_and_read_back(
    spark: SparkSession, model: Path, tmp_path: Path
) -> None:
    prepared = prepare(spark, job_with(tmp_path, model, **OPENVINO))
    asked = calibration._request(spark, prepared, 40, 2)
    about = {"folder": str(model), "digest": prepared.model.digest, "rows_per_s": 1.0}
    far = {"max_error": math.inf, "max_relative_error": math.inf}
    seen = [
        Measurement(**OPENVINO, **about, within=True),
        Measurement(backend="openvino", precision="bf16", **about, errors=far),
    ]
    calibration_store.store_measurements(prepared, "tiny-1", asked, "this machine", seen, AT)

    kept = calibrations(prepared.lake.root)
    config = choose_config(spark, prepared, "tiny-1", AT)
    known = json.loads(calibration_store.known_measurements(prepared, asked)["this machine"])

    assert (config.runtime.backend, config.why) == ("openvino", "as the run's first attempt")
    assert [Measurement.model_validate(one) for one in known] == seen
    for row in kept:
        json.loads(row["errors"], parse_constant=pytest.fail)  # Infinity is no JSON
    assert [_way(row, 1.0)["far"] for row in kept] == ["", "off by inf of the spread"]


@pytest.mark.slow
def test_measurements_of_another_machine_are_not_taken_over(
    spark: SparkSession, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepare(spark, job_with(tmp_path, model, **OPENVINO))
    choose_config(spark, prepared, "tiny-1", AT)
    before = {row["rows_per_s"] for row in calibrations(prepared.lake.root)}
    known = calibration_store.known_measurements(
        prepared, calibration._request(spark, prepared, 40, 2)
    )
    monkeypatch.setattr(
        calibration,
        "known_measurements",
        lambda *_: {f"not {machine}": seen for machine, seen in known.items()},
    )
    choose_config(spark, prepared, "tiny-2", AT)

    after = {
        row["rows_per_s"] for row in calibrations(prepared.lake.root) if row["run_id"] == "tiny-2"
    }
    assert known
    assert not after & before


def test_what_this_machine_does_not_have_is_refused_before_anything_is_scored(
    spark: SparkSession, model: Path, tmp_path: Path
) -> None:
    job = job_with(tmp_path, model, backend="openvino", precision="int8")

    with pytest.raises(MillraceError) as caught:
        run(spark, job, Progress(quiet=True))

    assert "int8" in str(caught.value)
    assert not (tmp_path / "lake" / "predictions_tiny").exists()


def night_job(tmp: Path, redact: tuple[str, ...] = (), **engine: Any) -> Job:
    """Texts of which one breaks the model, whether it is scored or measured with."""
    model = brittle_bert(tmp / "bert")
    texts = ["good day"] * 40 + ["good night"]
    write_parquet(tmp / "input", pa.table({"id": range(41), "text": texts}))
    contract = {"columns": {"id": {"type": "bigint"}, "text": {"type": "string"}}, "redact": redact}
    return job_of(tmp, model, contract=contract, engine=engine)


@pytest.mark.slow
def test_a_row_that_breaks_the_model_while_it_is_measured_is_found_when_it_is_scored(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "WORTH_S", 0.0)  # so little work is measured too
    job = night_job(tmp_path)

    summary = run(spark, job, Progress(quiet=True))

    assert (summary.scored, summary.failed) == (40, 1)
    assert (summary.backend, summary.precision) == ("torch", "fp32")
    assert "nothing could be measured" in str(summary.computed_so_because)
    assert "IndexError" not in str(summary.computed_so_because)
    (told,) = calibrations(tmp_path / "lake")
    assert not told["chosen"]
    assert "IndexError" in told["why"]
    prepared = prepare(spark, job)
    assert (
        calibration_store.known_measurements(prepared, calibration._request(spark, prepared, 41, 2))
        == {}
    )
    monkeypatch.setattr(calibration, "sample", None)
    assert (
        choose_config(spark, prepared, summary.run_id, AT).runtime
        == calibration.native(prepared).runtime
    )


def test_of_an_error_while_measuring_a_contract_that_redacts_keeps_the_kind_alone(
    spark: SparkSession, tmp_path: Path
) -> None:
    prepared = prepare(spark, night_job(tmp_path, redact=("text",)))
    asked = calibration._request(spark, prepared, 10**6, 2)

    seen = trials.measured(asked, pa.record_batch({"text": ["good night"] * 40}))

    assert seen[-1].why.endswith("its text is withheld, as contract.redact asks")
    assert not any("IndexError: " in one.why for one in seen)


def test_a_way_that_only_a_measurement_could_find_is_refused_where_a_row_breaks_the_model(
    spark: SparkSession, tmp_path: Path
) -> None:
    with pytest.raises(MillraceError, match="cannot be computed as the job asks") as caught:
        run(spark, night_job(tmp_path, **OPENVINO), Progress(quiet=True))

    assert "IndexError" in str(caught.value.got)


@pytest.mark.slow
def test_a_model_that_cannot_be_read_fails_its_run_with_its_own_words(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "WORTH_S", 0.0)
    folder = pixel_mlp(tmp_path / "model")
    (folder / "weights.safetensors").write_bytes(b"no weights")
    told = read_card(folder).model_dump(mode="json", exclude={"files"}, exclude_defaults=True)
    write_card(folder, **told)

    with pytest.raises(MillraceError) as caught:
        run(spark, job_with(tmp_path, folder), Progress(quiet=True))

    assert "Error while deserializing header" in str(caught.value)
    assert not (tmp_path / "lake" / "predictions_tiny").exists()


def test_a_run_that_is_done_is_done_in_whatever_precision_it_was_computed(
    spark: SparkSession, model: Path, tmp_path: Path
) -> None:
    job = job_with(tmp_path, model)
    first = run(spark, job, Progress(quiet=True))
    again = run(spark, job, Progress(quiet=True))
    pinned = job_of(tmp_path, model, engine={"backend": "torch", "precision": "fp32"})

    assert again.run_id == first.run_id
    assert prepare(spark, pinned).fingerprint != prepare(spark, job).fingerprint


def test_one_host_process_holds_the_model_for_all_workers_where_the_job_says_so(
    spark: SparkSession, model: Path, tmp_path: Path
) -> None:
    engine = {"backend": "torch", "precision": "fp32", "batch": 8}
    run(spark, job_with(tmp_path, model, **engine), Progress(quiet=True))
    own = predictions(tmp_path / "lake")
    hosted = job_of(tmp_path, model, name="hosted", engine=engine | {"host": "on"})
    run(spark, hosted, Progress(quiet=True))

    rows = live_rows.rows(DeltaTable(str(tmp_path / "lake" / "predictions_hosted"))).to_pylist()
    for one, other in zip(own, sorted(rows, key=lambda row: row["id"]), strict=True):
        assert one["label"] == other["label"]
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-5)
