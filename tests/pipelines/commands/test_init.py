"""`millrace init` writes a job file that passes preflight and runs, for every kind of source."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from pyspark.sql import SparkSession

import millrace
from millrace.pipelines.cli import main
from tests.helpers import (
    CLASSES,
    SIDE,
    columns_mlp,
    image_cnn,
    image_table,
    images,
    pixel_mlp,
    tiny_bert,
    write_parquet,
)
from tests.pipelines.test_cli import millrace as command

ROWS = 20
Case = tuple[Path, Path, dict[str, Any]]  # source, model, more arguments


def payments(tmp: Path) -> Case:
    lines = [f"p-{n},{n * 1.25},{n % 24}" for n in range(ROWS)]
    (tmp / "payments.csv").write_text("\n".join(["payment_id,amount,hour", *lines]) + "\n")
    model = columns_mlp(tmp / "model", amount="double", hour="int")
    return tmp / "payments.csv", model, {}


def pixels(tmp: Path) -> Case:
    source = write_parquet(tmp / "pixels", image_table(images(ROWS)), files=2)
    return source, pixel_mlp(tmp / "model"), {"name": "tiny"}


def pictures(tmp: Path) -> Case:
    folder = tmp / "photos"
    folder.mkdir()
    for number in range(ROWS):
        drawn = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(drawn).save(file, "PNG")
        (folder / f"{number}.png").write_bytes(file.getvalue())
    return folder, image_cnn(tmp / "model"), {}


def pictures_by_another_name(tmp: Path) -> Case:
    source, _, more = pictures(tmp)
    model = pixel_mlp(
        tmp / "renamed",
        architecture="cnn",
        options={"channels": [4], "dense": 5, "classes": CLASSES},
        inputs={"photo": {"type": "binary", "shape": [3, SIDE, SIDE]}},
        preprocess={"name": "image", "options": {"scale": 1 / 255}},
    )
    return source, model, more


def texts(tmp: Path) -> Case:
    bodies = [f"a good day {n}!" if n % 2 else f"the bad night {n}" for n in range(ROWS)]
    lines = [json.dumps({"review": n, "body": body}) for n, body in enumerate(bodies)]
    (tmp / "reviews.jsonl").write_text("\n".join(lines) + "\n")
    return (
        tmp / "reviews.jsonl",
        tiny_bert(tmp / "model", "classify"),
        {"columns": {"text": "body"}, "key": ["review"]},
    )


def numbers_that_are_texts(tmp: Path) -> Case:
    """The model reads texts; what stands in the column would be taken for numbers."""
    lines = [json.dumps({"id": f"r{n}", "text": n}) for n in range(ROWS)]
    (tmp / "codes.csv").write_text("id,text\n" + "".join(f"r{n},{1000 + n}\n" for n in range(ROWS)))
    assert lines
    return tmp / "codes.csv", tiny_bert(tmp / "model", "classify"), {}


CASES: list[Callable[[Path], Case]] = [
    payments, pixels, pictures, pictures_by_another_name, texts, numbers_that_are_texts,
]  # fmt: skip


@pytest.mark.spark
@pytest.mark.parametrize("make", CASES)
def test_the_job_file_passes_preflight_and_its_run_scores_every_row(
    spark: SparkSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path], Case],
) -> None:
    source, model, more = make(tmp_path)
    source, model = source.relative_to(tmp_path), model.relative_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "job"

    draft = millrace.init(source, model, out="job", spark=spark, **more)

    assert draft.path == Path("job/job.yaml")
    assert [path.name for path in out.iterdir()] == ["job.yaml"]
    text = draft.path.read_text()
    assert "# Optional sections" in text
    assert not [line for line in text.splitlines() if str(tmp_path) in line]  # it can be moved
    facts = millrace.preflight(draft.path)
    assert (facts["job"], facts["lake"]) == (draft.job, str(out / "lake"))
    assert facts["job"] in facts._repr_html_()
    summary = millrace.run(draft.path, spark=spark)
    assert (summary.rows_read, summary.scored) == (ROWS, ROWS), summary
    assert draft.as_json()["path"] == str(draft.path)


@pytest.mark.spark
def test_optional_sections_are_valid_once_they_are_used(
    spark: SparkSession, tmp_path: Path
) -> None:
    source, model, _ = payments(tmp_path)
    draft = millrace.init(source, model, out=tmp_path, spark=spark)
    text = draft.path.read_text().replace("COLUMN", "hour")
    sections = ("keep", "engine", "run", "cost", "monitor")
    for name in sections:
        assert f"# {name}: " in text
        text = text.replace(f"# {name}: ", f"{name}: ")
    draft.path.write_text(text)

    job = millrace.load_job(draft.path)

    assert set(sections) <= job.model_fields_set


@pytest.mark.spark
def test_what_cannot_be_a_job_is_refused_and_leaves_no_file(
    spark: SparkSession, tmp_path: Path
) -> None:
    source, model, _ = payments(tmp_path)
    text = tiny_bert(tmp_path / "bert", "classify")
    out = tmp_path / "out"

    def refused(match: str, *arguments: Any, **more: Any) -> millrace.errors.UsageError:
        with pytest.raises(millrace.errors.UsageError, match=match) as error:
            millrace.init(*arguments, out=out, spark=spark, **more)
        assert not out.exists()
        return error.value

    found = refused("no column text, which model tiny-bert:1 reads", source, text)
    assert found.next == "name the column: --column text=payment_id"
    refused("no such input", source, model, columns={"amuont": "amount"})
    refused("the source has no such column", source, model, columns={"amount": "total"})
    refused("names columns that the source does not have", source, model, key=["id"])
    refused("name", source, model, name="No Name")
    (tmp_path / "twice.jsonl").write_text('{"text": "a"}\n{"text": "a"}\n')
    write_parquet(tmp_path / "twins", image_table(images(4), [1, 1, 2, 2]))
    refused("no column identifies a row", tmp_path / "twins", pixel_mlp(tmp_path / "pixels"))
    both = millrace.init(
        tmp_path / "twins", tmp_path / "pixels", out=out, key=["id", "pixels"], spark=spark
    )
    assert both.key == ("id", "pixels")
    assert "key: [id, pixels]  # together they identify a row" in both.path.read_text()


def test_a_job_file_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("mine")
    words = ["--from", "data.csv", "--model", "model", "--out", str(tmp_path)]

    found = CliRunner().invoke(main, ["init", *words, "--json"])

    assert found.exit_code == 2
    assert json.loads(found.stdout)["error"] == "the job file exists already"
    assert (tmp_path / "job.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--column", "text"], "--column wants INPUT=COLUMN"),
        (["--set", "engine.batch=3"], "init takes settings of the source alone"),
    ],
)
def test_wrong_options_are_refused(words: list[str], error: str) -> None:
    found = CliRunner().invoke(
        main, ["init", "--from", "data.csv", "--model", "m", *words, "--json"]
    )
    assert found.exit_code == 2
    assert json.loads(found.stdout)["error"] == error


@pytest.mark.spark
@pytest.mark.slow
def test_init_as_a_user_sees_it(tmp_path: Path) -> None:
    source, model, _ = payments(tmp_path)

    done = command("init", "--from", source, "--model", model, "--out", tmp_path)

    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    path = tmp_path / "job.yaml"
    assert lines[0].startswith(f"{path}: 3 columns and ")
    assert [line.strip() for line in lines[2:]] == [
        f"millrace preflight {path}",
        f"millrace run {path}",
        f"millrace runs --lake {tmp_path / 'lake'}",
    ]
    assert command("preflight", path).returncode == 0
