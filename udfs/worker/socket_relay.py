"""A Unix socket in front of a TCP port, since other networks' processes can open the socket alone."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path

_BYTES = 1 << 18  # in one read


def serve(path: Path, port: int) -> None:
    """Listen at ``path`` and connect each client to ``port``, until the process ends.

    The permissions of the path's folder say who may connect.
    """
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    threading.Thread(target=_accept, args=(listener, port), daemon=True).start()


def _accept(listener: socket.socket, port: int) -> None:
    while True:
        client, _ = listener.accept()
        threading.Thread(target=_relay, args=(client, port), daemon=True).start()


def _relay(client: socket.socket, port: int) -> None:
    """Copy both ways until either side ends."""
    with client, socket.create_connection(("127.0.0.1", port)) as server:
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        requests = threading.Thread(target=_copy, args=(client, server), daemon=True)
        requests.start()
        _copy(server, client)
        requests.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    """Copy until either side ends, and end the other with it."""
    with suppress(OSError):
        while data := source.recv(_BYTES):
            target.sendall(data)
    for one in (source, target):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
