"""The messages between client and host: small JSON, after both sides have proven that they know the key."""

from __future__ import annotations

import json
import os
import socket
import struct
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge
from pathlib import Path
from typing import Any

from millrace.schemas import errors
from millrace.schemas.errors import MillraceError, RunFailed
from millrace.udfs.runtime.memory import out_of_memory

_LONGEST_BYTES = 1 << 20
_LONGEST_TEXT = 2000  # characters of a foreign error


def proven(
    opened: socket.socket, key: bytes, *, is_host: bool, timeout_s: float
) -> Connection[Any, Any]:
    """Authenticate a socket by HMAC challenges in both directions, the host's first.

    Nothing is unpickled: `send` and `receive` move bytes.

    Raises:
        AuthenticationError: the other side does not know the key.
        OSError, EOFError: the other side does not answer.
    """
    _set_timeout(opened, timeout_s)
    connection: Connection[Any, Any] = Connection(opened.detach())
    try:
        for challenge in (deliver_challenge, answer_challenge)[:: 1 if is_host else -1]:
            challenge(connection, key)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def path_of(directory: Path, name: str) -> Iterator[str]:
    """Yield a short path of a socket in the directory: Linux allows 107 bytes."""
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{name}"
    finally:
        os.close(descriptor)


def without_timeout(connection: Connection[Any, Any]) -> None:
    """Let receiving wait as long as the other side lives."""
    with socket.socket(fileno=connection.fileno()) as opened:
        _set_timeout(opened, 0)
        opened.detach()


def send(connection: Connection[Any, Any], message: Mapping[str, Any]) -> None:
    """Send a message. Raises OSError if the other side is gone."""
    connection.send_bytes(json.dumps(message).encode())


def receive(connection: Connection[Any, Any]) -> dict[str, Any]:
    """Return the next message. Raises EOFError or OSError if the other side is gone."""
    found: dict[str, Any] = json.loads(connection.recv_bytes(_LONGEST_BYTES))
    return found


def error_message(error: BaseException) -> dict[str, Any]:
    """Return an error as a message; if it means that memory ran out, its kind is MemoryError."""
    if isinstance(error, MillraceError):
        parts = {"what": error.what, "got": error.got, "allowed": error.allowed, "next": error.next}
        return {"kind": type(error).__name__, **parts}
    text = "".join(traceback.format_exception_only(error)).strip()[:_LONGEST_TEXT]
    return {"kind": "MemoryError" if out_of_memory(error) else "foreign", "got": text}


def rebuilt(message: Mapping[str, Any]) -> Exception:
    """Return the error of a message of `error_message`, of its own class if that is one of Millrace's."""
    kind = getattr(errors, message["kind"], None)
    if isinstance(kind, type) and issubclass(kind, MillraceError):
        parts = {name: message[name] for name in ("got", "allowed", "next")}
        return kind(message["what"], **parts)
    if message["kind"] == "MemoryError":
        return MemoryError(message["got"])
    return RunFailed(
        "the model failed in its host process",
        got=message["got"],
        next="the host's log has where: the file named log in its directory, while it lives",
    )


def _set_timeout(opened: socket.socket, seconds: float) -> None:
    """By the kernel, since a connection reads its descriptor directly; 0 means none."""
    value = struct.pack("@ll", int(seconds), int(seconds % 1 * 1e6))
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
