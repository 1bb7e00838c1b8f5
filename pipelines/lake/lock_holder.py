"""The holder of a run's claim: its files in the lake, and whether its process is alive."""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

FREE, HELD, WATCHED = "free", "held", "watched"  # free: none, released, dead or expired
_LOOKS = 50  # a lease


@dataclass(frozen=True)
class Holder:
    """Who made claim ``number`` of a fingerprint. ``since`` is for people: it decides nothing."""

    number: int
    token: str = ""
    fingerprint: str = ""
    run_id: str = ""
    host: str = ""
    place: str = ""  # boot and process id namespace: where ``pid`` means something; empty: unknown
    pid: int = 0
    started: str = ""  # the process's start in ticks since boot: tells a pid that was used again
    since: str = ""

    @property
    def description(self) -> str:
        """The holder's run, process, host and start, for messages."""
        who = f"run {self.run_id} in process {self.pid} on {self.host}"
        return f"{who}, since {self.since} by its clock"

    def mark(self, folder: Path, what: str) -> Path:
        """The file that says ``what``, beat or released, of this claim and of no other."""
        return folder / f"{self.number}-{self.token}.{what}"

    def as_json(self) -> str:
        """What the claim's file holds."""
        return json.dumps(asdict(self))


class ClaimWatcher:
    """What one watcher sees of one claim."""

    def __init__(self, folder: Path, expires_s: float) -> None:
        self.folder, self.expires_s = folder, expires_s
        self._first: tuple[Holder, bytes, float] | None = None

    def look(self) -> tuple[str, Holder | None]:
        """FREE, HELD or WATCHED (not known yet: look again), and the latest holder."""
        at = time.monotonic()  # before the look: being stopped after it must not count as waiting
        found = latest(self.folder)
        if found is None:
            return FREE, None
        holder, is_released, beat = found
        if is_released or is_dead(holder):
            return FREE, holder
        if self._first is None or self._first[0] != holder:
            self._first = holder, beat, at
        _, first, since = self._first
        if beat != first:
            return HELD, holder
        return (FREE if at - since >= self.expires_s else WATCHED), holder

    def pause(self) -> None:
        """Wait until it is time to look again."""
        time.sleep(self.expires_s / _LOOKS)


def me(number: int, fingerprint: str, run_id: str) -> Holder:
    """This process as a holder, with a token that no other claim has."""
    return Holder(
        number,
        token=secrets.token_hex(8),
        fingerprint=fingerprint,
        run_id=run_id,
        host=socket.gethostname(),
        place=_place(),
        pid=os.getpid(),
        started=_started(os.getpid()) or "",
        since=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def latest(folder: Path) -> tuple[Holder, bool, bytes] | None:
    """The latest holder, whether it released its claim, and its beat; None where nobody claims."""
    while numbers := _numbers(folder):
        if holder := read(folder, max(numbers)):
            beat = b""
            with suppress(FileNotFoundError):
                beat = holder.mark(folder, "beat").read_bytes()
            return holder, holder.mark(folder, "released").exists(), beat
    return None


def read(folder: Path, number: int) -> Holder | None:
    """The holder of one claim; None where there is no such claim, without a name where it is broken."""
    try:
        stored = json.loads((folder / f"{number}.json").read_text())
    except FileNotFoundError:
        return None
    except ValueError:  # the machine went down over it: nobody knows who it was, and nobody beats
        return Holder(number)
    known = {field.name for field in fields(Holder)}
    return Holder(**{name: value for name, value in stored.items() if name in known})


def is_dead(holder: Holder) -> bool:
    """Whether the holder's process ran here and is gone; False where this is unknown."""
    if not holder.place or holder.place != _place():
        return False
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # another user's
        pass
    return _started(holder.pid) not in (None, holder.started)


def _numbers(folder: Path) -> list[int]:
    try:
        names = os.listdir(folder)  # noqa: PTH208 - a folder may vanish here: iterdir's error is late
    except FileNotFoundError:
        return []
    stems = [name.removesuffix(".json") for name in names if name.endswith(".json")]
    return [int(stem) for stem in stems if stem.isdigit()]


def _place() -> str:
    """This boot of this machine and its process ids; empty where the system does not tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()} {boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """Return a process's start in ticks since boot; empty if it has ended, None if unknown."""
    try:
        line = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, *rest = line[line.rindex(")") + 2 :].split()
    return "" if state in "ZX" else rest[18]
