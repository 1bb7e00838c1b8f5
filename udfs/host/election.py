"""Finds a device's host, or elects the process that starts it."""

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

from millrace.schemas.errors import RunFailed
from millrace.udfs.host.address import HostSpec, made_private
from millrace.udfs.host.protocol import path_of, proven
from millrace.udfs.runtime.child_environment import environment

ADDRESS, LOCK, LOG = "address", "lock", "log"  # files of a host's directory
_EVERY_S = 0.02
_LOG_TAIL_BYTES = 2000


def connect(place: HostSpec) -> Connection[Any, Any]:
    """Return a connection to the host of ``place``; if none is alive, start it under a file lock.

    Raises RunFailed, with the end of the host's log, if it does not start within ``place.start_s``.
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
    """Write this process's socket and key to the directory, atomically, readable by this user alone."""
    text = json.dumps({"pid": os.getpid(), "socket": name, "key": key.hex()})
    draft = directory / f"{ADDRESS}-{os.getpid()}"
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    draft.replace(directory / ADDRESS)


def read_address(directory: Path) -> dict[str, Any] | None:
    """Return ``pid``, ``socket`` and ``key`` of the last host; None if there was none."""
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


def _started(place: HostSpec, directory: Path) -> Connection[Any, Any]:
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
    """Return the end of the host's log."""
    try:
        return (directory / LOG).read_bytes()[-_LOG_TAIL_BYTES:].decode("utf-8", "replace").strip()
    except FileNotFoundError:
        return "no log"


def _spawned(place: HostSpec, directory: Path) -> subprocess.Popen[bytes]:
    """A fresh interpreter: a fork would inherit torch's threads and CUDA's state.

    It has a session of its own, since Spark signals the group of its workers.
    """
    log = os.open(directory / LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    command = [
        sys.executable,
        "-P",
        "-m",
        "millrace.udfs.host.server",
        place.as_json(),
        str(directory),
    ]
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
