"""Output that cannot be written is refused before any work: exit code 2, in our own form."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from millrace.pipelines.cli import main
from millrace.pipelines.job.preflight import checked
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.lake.write_access import check_file, check_lake, explained
from millrace.pipelines.spark.job_session import session_for
from millrace.schemas.config import Job
from millrace.schemas.errors import UsageError
from tests.helpers import image_table, images, into, job_of, write_parquet

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def frozen(tmp_path: Path) -> Iterator[Path]:
    """A folder in which nobody can create files: immutable for root, without permission for others."""
    folder = tmp_path / "frozen"
    folder.mkdir()
    if os.geteuid():
        folder.chmod(0o500)
        yield folder
        folder.chmod(0o700)
        return
    if subprocess.run(["chattr", "+i", folder], capture_output=True, check=False).returncode:
        pytest.skip("this file system has no immutable folders, and root may write everywhere else")
    yield folder
    subprocess.run(["chattr", "-i", folder], check=True)


@pytest.fixture
def job(tmp_path: Path, model: Path) -> Job:
    write_parquet(tmp_path / "input", image_table(images(4)))
    return job_of(tmp_path, model)


def test_folders_of_others_in_a_lake_are_not_written_to(tmp_path: Path, frozen: Path) -> None:
    lake = tmp_path / "lake"
    lake.mkdir()
    (lake / "lost+found").symlink_to(frozen)

    check_lake(LakeLocation(lake))


def refused(job: Job, lake: Path) -> UsageError:
    """What preflight says, which is what a run says before it starts a JVM."""
    with pytest.raises(UsageError, match="output.path cannot be written") as at_preflight:
        checked(into(job, lake), NOW)
    with pytest.raises(UsageError, match="output.path cannot be written") as before_spark:
        session_for(into(job, lake)).__enter__()
    assert str(at_preflight.value) == str(before_spark.value)
    assert at_preflight.value.exit_code == 2
    return at_preflight.value


def test_a_lake_in_a_folder_that_cannot_be_written_is_refused(job: Job, frozen: Path) -> None:
    for lake in (frozen, frozen / "lake", frozen / "a" / "b"):
        assert str(frozen) in (refused(job, lake).got or "")


def test_a_lake_below_a_file_or_a_broken_link_is_refused(job: Job, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("text")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")

    for lake in ("notes.txt", "notes.txt/lake", "notes.txt/a/b"):
        assert "notes.txt is a file" in (refused(job, tmp_path / lake).got or "")
    for lake in ("link", "link/lake"):
        assert "link is a broken link" in (refused(job, tmp_path / lake).got or "")


def test_a_lake_on_a_file_system_that_refuses_files_is_refused(job: Job) -> None:
    alone = job.model_copy(update={"run": job.run.model_copy(update={"single_writer": True})})
    refused(alone, Path("/proc/millrace"))


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
def test_a_lake_whose_name_no_file_system_takes_is_refused(
    job: Job, tmp_path: Path, name: str
) -> None:
    with pytest.raises(UsageError, match="output.path cannot be written"):
        check_lake(LakeLocation(tmp_path / name))


def test_a_table_of_the_lake_that_cannot_be_written_is_found(tmp_path: Path, frozen: Path) -> None:
    lake = tmp_path / "lake"
    lake.mkdir()
    (lake / "ledger").symlink_to(frozen)

    with pytest.raises(UsageError) as found:
        check_lake(LakeLocation(lake))
    assert "ledger" in (found.value.got or "")


def test_what_can_be_written_is_left_as_it_was(job: Job, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    checked(into(job, lake / "deep"), NOW)
    assert not lake.exists()

    (lake / "runs" / "_delta_log").mkdir(parents=True)
    before = sorted(lake.rglob("*"))
    checked(into(job, lake), NOW)
    assert sorted(lake.rglob("*")) == before


def test_every_option_that_names_a_file_to_write_is_checked_before_any_work(
    job: Job, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("text")
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(job.model_dump(mode="json", exclude_unset=True)))
    inside = str(tmp_path / "notes.txt" / "out")
    (tmp_path / "lake" / "runs").mkdir(parents=True)
    lake = ["--lake", str(tmp_path / "lake")]

    for words in (
        ["plan", str(file), "--chart", inside],
        ["validate", "--suggest", str(tmp_path / "input"), "--out", inside],
        ["metrics", *lake, "--out", inside],
        ["sql", "SELECT 1 AS one", *lake, "--out", inside],
        ["report", "--lake", inside],
    ):
        done = CliRunner().invoke(main, [*words, "--json"])
        assert done.exit_code == 2, (words, done.output)
        told = json.loads(done.output.splitlines()[-1])
        assert (told["exit_code"], "notes.txt" in str(told)) == (2, True), told


def test_a_folder_is_no_file_to_write(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--chart cannot be written"):
        check_file(tmp_path, "--chart")


def test_what_the_file_system_refuses_later_is_no_bug_of_ours() -> None:
    refused = explained(PermissionError(13, "Permission denied", "/lake/x"))
    full = explained(OSError(28, "No space left on device", "/lake/x"))

    assert refused is not None
    assert full is not None
    assert (refused.exit_code, full.exit_code) == (2, 5)
    assert "/lake/x" in str(refused)
    assert explained(OSError("no number, no file")) is None
