"""Paths in a job file start at the file's folder; what cannot be such a path is refused with its line."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from millrace.schemas.config import Job
from millrace.schemas.errors import JobFileError
from millrace.schemas.job_file import load_job

JOB = """\
name: tiny
source: {format: parquet, path: input}
key: [id]
contract:
  columns:
    id: {type: bigint, references: {path: known, column: id}}
model: {uri: models/tiny}
output: {path: ../lake}
cost: {prices: books/own.yaml, instance: laptop}
observe: {metrics: out/millrace.prom, openlineage: lineage.jsonl}
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The job file, in a folder that is not the working directory."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "jobs").mkdir()
    file = tmp_path / "jobs" / "job.yaml"
    file.write_text(JOB)
    return file


def paths_of(job: Job) -> list[str | None]:
    assert job.cost
    reference = job.contract.columns["id"].references
    assert reference
    return [
        job.source.path, job.model.uri, job.output.path, job.cost.prices, reference.path,
        job.observe.metrics, job.observe.openlineage,
    ]  # fmt: skip


def test_every_path_starts_at_the_job_files_folder(path: Path) -> None:
    at = path.parent

    assert paths_of(load_job(path)) == [
        str(at / "input"), str(at / "models/tiny"), str(at.parent / "lake"), str(at / "books/own.yaml"),
        str(at / "known"), str(at / "out/millrace.prom"), str(at / "lineage.jsonl"),
    ]  # fmt: skip


def test_the_same_job_has_the_same_paths_however_the_file_is_named(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = load_job(path)
    assert load_job(Path("../jobs/job.yaml")) == whole
    monkeypatch.chdir(path.parent)
    assert load_job(Path("job.yaml")) == whole


def test_a_path_on_the_command_line_starts_at_the_working_directory(path: Path) -> None:
    sets = ["source.path=data/x", "output.path=out", "cost.prices=gpu"]
    job = load_job(path, sets)

    assert job.cost
    assert (job.source.path, job.output.path, job.cost.prices) == ("data/x", "out", "gpu")
    assert job.model.uri == str(path.parent / "models/tiny")


def test_paths_cwd_keeps_the_old_meaning(path: Path) -> None:
    old = ["input", "models/tiny", "../lake", "books/own.yaml", "known", "out/millrace.prom", "lineage.jsonl"]  # fmt: skip
    assert paths_of(load_job(path, ["paths=cwd"])) == old


def test_absolute_paths_and_urls_of_receivers_stay(path: Path) -> None:
    sets = {"input}": "/data/input}", "lineage.jsonl": "https://lineage.example.org/api"}
    text = JOB
    for old, new in sets.items():
        text = text.replace(old, new)
    path.write_text(text)
    job = load_job(path)

    assert job.source.path == "/data/input"
    assert job.observe.openlineage == "https://lineage.example.org/api"


def test_a_shipped_price_book_is_a_name_and_a_file_of_that_name_goes_before_it(path: Path) -> None:
    path.write_text(JOB.replace("books/own.yaml", "example"))
    assert paths_of(load_job(path))[3] == "example"

    (path.parent / "example").write_text("currency: USD")
    assert paths_of(load_job(path))[3] == str(path.parent / "example")


@pytest.mark.parametrize("name", ["input", "models/tiny", "known", "books/own.yaml"])
def test_what_exists_only_from_the_working_directory_is_said_and_not_taken(
    path: Path, name: str
) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text("here")

    with pytest.raises(
        JobFileError, match=r"job.yaml:\d+: .* starts at the job file's folder"
    ) as said:
        load_job(path)
    assert str(Path(name).absolute()) in (said.value.got or "")
    assert "paths: cwd" in (said.value.next or "")
    load_job(path, ["paths=job"])
    load_job(path, ["paths=cwd"])


def test_a_lake_that_a_job_wrote_before_is_not_forgotten(path: Path, tmp_path: Path) -> None:
    path.write_text(JOB.replace("../lake", "lake"))
    Path("lake").mkdir()
    load_job(path)  # any folder of that name is no lake

    Path("lake/runs/_delta_log").mkdir(parents=True)
    with pytest.raises(JobFileError, match="output.path starts at the job file's folder"):
        load_job(path)


@pytest.mark.parametrize("uri", ["s3://bucket/x", "hdfs://node/x", "gs://b/x", "dbfs:/x", "abfss://c@h/x"])  # fmt: skip
@pytest.mark.parametrize("old", ["input}", "models/tiny", "../lake", "known", "books/own.yaml", "out/millrace.prom"])  # fmt: skip
def test_a_uri_is_refused_at_its_line(path: Path, old: str, uri: str) -> None:
    path.write_text(JOB.replace(old, f'"{uri}"' + "}" * old.endswith("}")))
    with pytest.raises(
        JobFileError, match=r"job.yaml:\d+: [\w.]+ cannot be at a URI yet"
    ) as refused:
        load_job(path)
    assert (refused.value.got, refused.value.exit_code) == (uri, 2)
    path.write_text(JOB)
    with pytest.raises(JobFileError, match="--set output.path=.*: output.path cannot be at a URI"):
        load_job(path, [f"output.path={uri}"])


@pytest.mark.parametrize("name", ["main.ml.scores", "ml.scores", "out.v2"])
def test_a_dotted_name_is_a_table_unless_there_is_such_a_folder(path: Path, name: str) -> None:
    path.write_text(JOB.replace("../lake", name))
    with pytest.raises(JobFileError, match="looks like a table of a catalog") as refused:
        load_job(path)
    assert f"./{name}" in (refused.value.next or "")

    path.write_text(JOB.replace("../lake", f"./{name}"))
    assert paths_of(load_job(path))[2] == str(path.parent / name)

    path.write_text(JOB.replace("../lake", name))
    (path.parent / name).mkdir()
    assert paths_of(load_job(path))[2] == str(path.parent / name)


@pytest.mark.parametrize("name", ["lake", "lake/", "a.b/lake", "v1.0.0.0", ".lake", "lake-1.2"])
def test_other_names_of_folders_are_folders(path: Path, name: str) -> None:
    path.write_text(JOB.replace("../lake", name))
    assert paths_of(load_job(path))[2] == str(path.parent / name.rstrip("/"))


@given(parts=st.lists(st.sampled_from(["..", ".", "a", "b c", "ü"]), min_size=1, max_size=6))
def test_a_joined_path_is_what_the_kernel_makes_of_it(
    parts: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    from millrace.schemas.job_file import _joined

    folder = tmp_path_factory.getbasetemp() / "real" / "deep"
    folder.mkdir(parents=True, exist_ok=True)
    link = tmp_path_factory.getbasetemp() / "link"
    if not link.is_symlink():
        link.symlink_to(folder)
    for start in (folder, link):
        value = "/".join(parts)
        assert Path(_joined(start, value)).resolve() == (start / value).resolve()


def test_no_field_that_is_a_path_is_forgotten() -> None:
    """Each field whose name says that it holds a path, wherever in a job."""
    named = {name for name in _fields(Job) if name.rpartition(".")[2] in PATH_NAMES}
    assert named == {
        "source.path", "source.labels", "model.uri", "output.path", "cost.prices",
        "contract.columns.references.path", "observe.metrics", "observe.openlineage",
    }  # fmt: skip


PATH_NAMES = {"path", "labels", "uri", "prices", "metrics", "openlineage", "file", "folder", "url"}


def _fields(kind: type[BaseModel], before: str = "") -> Iterator[str]:
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        if name in kind.model_fields:
            yield before + name
            for model in _models(hint):
                yield from _fields(model, f"{before}{name}.")


def _models(hint: Any) -> Iterator[type[BaseModel]]:
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        yield hint
    for part in typing.get_args(hint):
        yield from _models(part)
