"""What a job is, and what is wrong with it, told without Spark and without a row."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from subprocess import run

import pytest
import yaml
from click.testing import CliRunner

from millrace.pipelines.cli import main
from millrace.pipelines.job.preflight import checked
from millrace.pipelines.sources.snapshot import pin
from millrace.schemas.config import Job
from millrace.schemas.errors import ModelError, UsageError
from tests.helpers import image_cnn, image_table, images, job_of, pixel_mlp, write_parquet

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def job(tmp_path: Path, model: Path) -> Job:
    write_parquet(tmp_path / "input", image_table(images(6)), files=2)
    prices = {"prices": "example", "instance": "laptop", "budget": "1.50"}
    return job_of(tmp_path, model, cost=prices)


def test_a_job_is_told_with_the_digest_that_a_run_would_pin(job: Job, tmp_path: Path) -> None:
    found = checked(job, NOW)

    assert (found["job"], found["table"], found["lake"]) == (
        "tiny", "predictions_tiny", str(tmp_path / "lake"),
    )  # fmt: skip
    assert (found["model"], found["instance"], found["currency"]) == ("tiny-mlp:1", "laptop", "USD")
    assert found["budget"] == "1.50"
    assert found["input"]["files"] == 2
    assert found["input"]["sha256"] == pin(job.source).digest
    assert not (tmp_path / "lake").exists()


def test_another_file_in_the_input_is_another_digest(job: Job, tmp_path: Path) -> None:
    before = checked(job, NOW)["input"]["sha256"]
    write_parquet(tmp_path / "input" / "more", image_table(images(1)))

    assert checked(job, NOW)["input"]["sha256"] != before


def test_how_pictures_are_seen_is_told_with_its_defaults(
    tmp_path: Path,
) -> None:
    (tmp_path / "input").mkdir()
    (tmp_path / "input" / "a.png").write_bytes(b"")
    columns = {"path": {"type": "string"}, "content": {"type": "binary"}}
    given = {"format": "images", "path": str(tmp_path / "input")}
    job = job_of(
        tmp_path,
        image_cnn(tmp_path / "m"),
        source=given,
        key=["path"],
        contract={"columns": columns},
    )
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(job.model_dump(mode="json", exclude_unset=True)))

    told = CliRunner().invoke(main, ["preflight", str(file)]).output

    assert "image  turned upright as EXIF says; transparent over the colour 255, 255, 255" in told
    assert "1 file, 0 bytes; 1 of 0 bytes" in told
    assert checked(job, NOW)["decoded_as"]["orientation"] == "exif"


def test_a_model_that_was_changed_an_absent_input_and_a_lake_at_a_uri_are_refused(
    job: Job, tmp_path: Path
) -> None:
    wrong = job.source.model_copy(update={"path": "nowhere"})
    with pytest.raises(UsageError, match=r"source.path does not exist"):
        checked(job.model_copy(update={"source": wrong}), NOW)
    away = job.output.model_copy(update={"path": "s3://bucket/lake"})
    with pytest.raises(UsageError, match="lake cannot be at a URI"):
        checked(job.model_copy(update={"output": away}), NOW)
    weights = pixel_mlp(tmp_path / "changed") / "weights.safetensors"
    weights.write_bytes(weights.read_bytes() + b"!")
    with pytest.raises(ModelError):
        checked(job_of(tmp_path, weights.parent), NOW)


def test_the_command_starts_no_jvm(job: Job, tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(job.model_dump(mode="json", exclude_unset=True)))
    spoken = "import sys; from millrace.pipelines.cli import main; main(sys.argv[1:])"
    words = ["preflight", str(file), "--set", "cost.budget=2", "--json"]
    no_java = {"PATH": "/nowhere", "JAVA_HOME": "/nowhere", "PYTHONPATH": str(Path.cwd())}

    done = run([sys.executable, "-c", spoken, *words], capture_output=True, text=True, check=False, env=no_java)  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["budget"] == "2"
