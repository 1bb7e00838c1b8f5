"""Finding a device's host, or becoming the one who starts it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from schemas.errors import RunFailed
from udfs.child import environment
from udfs.host.place import HostPlace, made_private
from udfs.host.wire import path_of, proven

ADDRESS, LOCK, LOG = "address", "lock", "log"  # files of a host's directory
_EVERY_S = 0.02
_LOG_TAIL_BYTES = 2000


def connect(place: HostPlace) -> Connection[Any, Any]:
    """A connection to the place's host; whoever finds none, or a dead one, starts it under a file lock.

    Raises RunFailed where no host comes up within ``place.start_s``, with the end of its log.
    """
    directory = made_private(place.directory)
    if (found := _reached(directory, place.start_s)) is not None:
        return found
    try:
        with FileLock(directory / LOCK, timeout=2 * place.start_s, mode=0o600):
            return _reached(directory, place.start_s) or _started(place, directory)
    except Timeout:
        raise RunFailed(
            f"another process has been starting the host of {place.device} for too long",
            got=f"{2 * place.start_s:g} s",
            next=f"see {directory / LOG}",
        ) from None


def write_address(directory: Path, name: str, key: bytes) -> None:
    """Say where this process listens, and with what key: whole or not at all, for this user's eyes."""
    text = json.dumps({"pid": os.getpid(), "socket": name, "key": key.hex()})
    draft = directory / f"{ADDRESS}-{os.getpid()}"
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    draft.replace(directory / ADDRESS)


def read_address(directory: Path) -> dict[str, Any] | None:
    """The ``pid``, ``socket`` and ``key`` that the last host wrote; None where there is none."""
    try:
        found: dict[str, Any] = json.loads((directory / ADDRESS).read_text("utf-8"))
    except FileNotFoundError:
        return None
    return found


def _reached(directory: Path, timeout_s: float) -> Connection[Any, Any] | None:
    """A connection to the host that the address names; None where nobody is there."""
    address = read_address(directory)
    if address is None:
        return None
    opened = socket.socket(socket.AF_UNIX)
    try:
        with path_of(directory, address["socket"]) as path:
            opened.connect(path)
        return proven(opened, bytes.fromhex(address["key"]), is_host=False, timeout_s=timeout_s)
    except BlockingIOError:  # it lives, and holds the device: no second one may start
        raise RunFailed(
            f"the host process {address['pid']} does not answer",
            got=f"nothing for {timeout_s:g} s",
            next=f"see {directory / LOG}, or end that process",
        ) from None
    except AuthenticationError:
        raise RunFailed(
            f"who listens at {directory / address['socket']} does not know the host's key",
            next="remove the directory, or give the host another folder",
        ) from None
    except (OSError, EOFError):
        return None
    finally:
        opened.close()


def _started(place: HostPlace, directory: Path) -> Connection[Any, Any]:
    """Start a host and wait until it answers; to be called under the lock."""
    if (stale := read_address(directory)) is not None:
        (directory / stale["socket"]).unlink(missing_ok=True)
        (directory / ADDRESS).unlink(missing_ok=True)
    process = _spawned(place, directory)
    until = time.monotonic() + place.start_s
    while time.monotonic() < until:
        if (found := _reached(directory, place.start_s)) is not None:
            threading.Thread(target=process.wait, daemon=True).start()  # no zombie is left of it
            return found
        if process.poll() is not None:
            break
        time.sleep(_EVERY_S)
    process.kill()
    code = process.wait()
    raise RunFailed(
        f"the host of {place.device} did not start",
        got=f"exit code {code}: {tail(directory)}",
        allowed=f"an answer within {place.start_s:g} s",
    )


def tail(directory: Path) -> str:
    """The end of the host's log."""
    try:
        return (directory / LOG).read_bytes()[-_LOG_TAIL_BYTES:].decode("utf-8", "replace").strip()
    except FileNotFoundError:
        return "no log"


def _spawned(place: HostPlace, directory: Path) -> subprocess.Popen[bytes]:
    """A fresh interpreter: a fork would inherit torch's threads and CUDA's state.

    It has a session of its own, since Spark signals the group of its workers.
    """
    log = os.open(directory / LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    command = [sys.executable, "-P", "-m", "udfs.host.server", place.as_json(), str(directory)]
    try:
        return subprocess.Popen(  # noqa: S603 - this very package
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=directory,
            env=environment(),
        )
    finally:
        os.close(log)
