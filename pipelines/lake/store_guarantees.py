"""What the lake's store guarantees when two drivers make one file at the same moment.

Delta's commits and a run's claim both rest on put-if-absent: of two who make a file under one name,
exactly one succeeds, and the other gets an error.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from millrace.schemas.errors import UsageError

_DISKS = frozenset({
    "ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "jfs", "overlay", "tmpfs",
    "ramfs", "apfs", "hfs",
})  # fmt: skip
_MOUNTS = {
    "nfs": "a repeated request may be answered wrongly, and clients cache what a folder holds",
    "cifs": "whether creation is exclusive is the server's affair, and clients cache",
    "smb3": "whether creation is exclusive is the server's affair, and clients cache",
    "9p": "whether creation is exclusive is the host's affair",
    "virtiofs": "whether creation is exclusive is the host's affair",
    "fuse": "whether creation is exclusive is the affair of the program behind the mount",
}
_SCHEMES = {
    "hdfs": ("HDFS", True, "a rename to a name that is taken fails"),
    "s3": (
        "S3",
        False,
        "puts are conditional (If-None-Match) on AWS and some others; not on every store",
    ),
    "abfs": ("ABFS", True, "puts are conditional, and a rename to a name that is taken fails"),
    "gs": ("GCS", True, "puts are conditional on an object's generation"),
}
_SAME = {"s3a": "s3", "s3n": "s3", "abfss": "abfs", "viewfs": "hdfs"}
_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")


@dataclass(frozen=True)
class Guarantee:
    """Whether two drivers cannot both make one file there, and why."""

    name: str
    safe: bool
    why: str

    def __str__(self) -> str:
        text = f"{self.name}, {'safe' if self.safe else 'not safe'} for two drivers"
        return text if self.safe else f"{text}: {self.why}"


def guarantee(path: str, mounts: Sequence[tuple[str, str]] | None = None) -> Guarantee:
    """The guarantee of the store that holds ``path``, a URI or a local path that need not exist.

    ``mounts`` are mount points with their file systems; None: this machine's.
    """
    if (scheme := _scheme(path)) not in (None, "file"):
        known = _SCHEMES.get(_SAME.get(scheme, scheme))
        return Guarantee(*known) if known else Guarantee(scheme, safe=False, why="not known")
    kind = _file_system(Path(path.removeprefix("file://")), _mounts() if mounts is None else mounts)
    if kind in _DISKS:
        return Guarantee(
            f"local disk ({kind})", safe=True, why="a hard link to a name that is taken fails"
        )
    why = next((reason for start, reason in _MOUNTS.items() if kind.startswith(start)), "not known")
    return Guarantee(f"mount ({kind})", safe=False, why=why)


def refuse_unsafe(path: str, *, single_writer: bool) -> Guarantee:
    """The guarantee of a lake's store. Raises UsageError where it has none, or where lakes cannot be yet.

    A store without the guarantee will do where the job says that nobody else writes the lake.
    """
    found = guarantee(path)
    if _scheme(path):
        raise UsageError(
            "a lake cannot be at a URI yet",
            got=f"output.path: {path}",
            allowed="a local folder, or a mounted one",
            next="write output.path as a plain path"
            if _scheme(path) == "file"
            else "write to a local folder, and copy the tables from there",
        )
    if not found.safe and not single_writer:
        raise UsageError(
            "the lake's store may let two drivers write the same file",
            got=f"output.path: {path} is on a {found.name}: {found.why}",
            allowed="a local disk, or run.single_writer: true",
            next="set run.single_writer: true if no two drivers ever write this lake at a time",
        )
    return found


def _scheme(path: str) -> str | None:
    found = _URI.match(path)
    return found[1].lower() if found else None


def _mounts() -> list[tuple[str, str]]:
    return [(part.mountpoint, part.fstype) for part in psutil.disk_partitions(all=True)]


def _file_system(path: Path, mounts: Sequence[tuple[str, str]]) -> str:
    """The file system of the longest mount point above; of two at one place, the later one hides."""
    whole = path.resolve()
    above = [(len(Path(at).parts), kind) for at, kind in mounts if whole.is_relative_to(at)]
    deepest = max((depth for depth, _ in above), default=0)
    return next((kind for depth, kind in reversed(above) if depth == deepest), "unknown")
