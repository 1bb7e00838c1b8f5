"""The directory and lifetime of a host: one per device and owner, which ends with its owner."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil

from millrace.schemas.errors import RunFailed


@dataclass(frozen=True)
class HostSpec:
    """The device and owner that a host serves, and its limits.

    Clients with equal ``folder``, ``owner`` and ``device`` share a host. The owner is a process, usually
    the executor, so that two executors on one machine have separate hosts. The limits are those of the
    client that starts the host.
    """

    folder: Path  # where hosts make their private directories; on a local disk
    owner: int  # process id; the host ends when this process does
    device: str  # cpu or cuda:N
    limit_bytes: int | None = None  # for its models together; None: a share of what the device has
    reserve_bytes: int = 0  # of that, reserved for computing, besides the weights
    join_rows: int = 256  # of a batch made of several clients' rows, where shapes are equal
    join_tokens: int = 2048  # the same where lengths differ: rows times the longest of them
    idle_s: float = 60.0  # without a client, before it ends
    start_s: float = 60.0  # until a new host must answer; loading a model comes after that
    room_s: float = 120.0  # that a model waits for memory which others hold
    deaths: int = 3  # hosts that may die over one batch before the batch is given up

    @property
    def directory(self) -> Path:
        """Return the host's own directory; equal for all that share the host, and for nobody else."""
        # In another container the same process id is another process.
        birth, namespace = born(self.owner), Path("/proc/self/ns/pid").readlink()
        seed = f"{namespace} {self.owner} {birth} {self.device}"
        return self.folder.resolve() / f"mh-{hashlib.sha256(seed.encode()).hexdigest()[:16]}"

    def as_json(self) -> str:
        """Return the JSON that `from_json` reads."""
        return json.dumps({**asdict(self), "folder": str(self.folder.resolve())})

    @classmethod
    def from_json(cls, text: str) -> HostSpec:
        """Return the value that `as_json` wrote."""
        found = json.loads(text)
        return replace(cls(**found), folder=Path(found["folder"]))


def born(pid: int) -> int:
    """Return when a process started, in clock ticks since boot; with its id this identifies it.

    Raises RunFailed if there is no such process.
    """
    try:
        status = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError as error:
        raise RunFailed(
            f"no process {pid}, so no host can serve it",
            got=str(error),
            allowed="the id of a living process, on Linux",
            next="give the executor's process id as the owner",
        ) from None
    return int(status.rpartition(")")[2].split()[19])  # the name before it may hold anything


def executor_pid() -> int:
    """Return the nearest ancestor process that is a JVM: the executor of a Python worker.

    Raises RunFailed if there is none.
    """
    parents = psutil.Process().parents()
    for parent in parents:
        if parent.name() == "java":
            return parent.pid
    raise RunFailed(
        "no Spark executor is above this process",
        got=", ".join(parent.name() for parent in parents),
        allowed="a process named java among them",
        next="give the owner's process id",
    )


def made_private(directory: Path) -> Path:
    """Make the directory for this user alone. Raises RunFailed if others have access."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    directory.mkdir(mode=0o700, exist_ok=True)
    found = directory.lstat()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077:
        return directory
    raise RunFailed(
        f"the host's directory {directory} is not this user's alone",
        got=f"{stat.filemode(found.st_mode)}, user {found.st_uid}",
        allowed=f"drwx------, user {os.geteuid()}",
        next="remove it, or give the host another folder",
    )
