"""What each store guarantees, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from millrace.pipelines.lake import store_guarantees
from millrace.pipelines.lake.store_guarantees import guarantee, refuse_unsafe
from millrace.schemas.errors import UsageError

MOUNTS = [
    ("/", "ext4"),
    ("/mnt", "nfs4"),
    ("/mnt/with space", "xfs"),
    ("/mnt/hidden", "xfs"),
    ("/mnt/hidden", "fuse.sshfs"),
    ("/proc", "proc"),
]


@pytest.mark.parametrize(
    ("path", "name", "safe"),
    [
        ("/data/lake", "local disk (ext4)", True),
        ("/mnt/lake", "mount (nfs4)", False),
        ("/mntlake", "local disk (ext4)", True),
        ("/mnt/with space/lake", "local disk (xfs)", True),
        ("/mnt/hidden/lake", "mount (fuse.sshfs)", False),
        ("/mnt/../data", "local disk (ext4)", True),
        ("/proc/lake", "mount (proc)", False),
        ("file:///mnt/lake", "mount (nfs4)", False),
        ("hdfs://node/lake", "HDFS", True),
        ("s3a://bucket/lake", "S3", False),
        ("S3://bucket/lake", "S3", False),
        ("abfss://box@account/lake", "ABFS", True),
        ("gs://bucket/lake", "GCS", True),
        ("dbfs:/lake", "dbfs", False),
    ],
)
def test_each_store_is_named_with_what_it_guarantees(path: str, name: str, safe: bool) -> None:
    found = guarantee(path, MOUNTS)

    assert (found.name, found.safe) == (name, safe)
    assert name in str(found)
    assert found.safe or found.why in str(found)


def test_the_longest_mount_counts_also_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "share").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "share")
    mounts = [("/", "ext4"), (str(tmp_path / "share"), "9p")]

    assert guarantee(str(tmp_path / "link" / "lake"), mounts).name == "mount (9p)"
    assert guarantee("/anywhere", []).name == "mount (unknown)"


def test_a_store_without_the_guarantee_is_refused_unless_there_is_one_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_guarantees, "_mounts", lambda: [(str(tmp_path), "nfs")])

    with pytest.raises(UsageError, match=r"run\.single_writer: true") as refused:
        refuse_unsafe(str(tmp_path / "lake"), single_writer=False)
    assert "nfs" in (refused.value.got or "")
    assert not refuse_unsafe(str(tmp_path / "lake"), single_writer=True).safe


@pytest.mark.parametrize("single_writer", [True, False])
@pytest.mark.parametrize("path", ["s3a://bucket/lake", "hdfs://node/lake", "file:///tmp/lake"])
def test_a_lake_at_a_uri_is_refused_for_now(path: str, single_writer: bool) -> None:
    with pytest.raises(UsageError, match="cannot be at a URI yet") as refused:
        refuse_unsafe(path, single_writer=single_writer)
    assert path in (refused.value.got or "")


def test_the_disk_of_this_machine_does_what_its_guarantee_says(tmp_path: Path) -> None:
    if not guarantee(str(tmp_path)).safe:
        pytest.skip("temporary files are on a mount without the guarantee")
    (tmp_path / "draft").write_text("two")
    (tmp_path / "taken").write_text("one")

    with pytest.raises(FileExistsError):
        os.link(tmp_path / "draft", tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "one"
