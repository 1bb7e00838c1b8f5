"""The host's side of one client's connection."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle
from typing import Any

from numpy.typing import NDArray

from udfs.decode import Values
from udfs.host import wire
from udfs.host.area import Area
from udfs.host.payload import packed, unpacked
from udfs.models.gpu import GpuUse


class Tenant:
    """A client that has shown the key: where its questions are, and how it is answered."""

    def __init__(self, opened: socket.socket, key: bytes, board: Area, timeout_s: float) -> None:
        self.connection: Connection[Any, Any] = wire.proven(
            opened, key, is_host=True, timeout_s=timeout_s
        )
        self._areas: list[Area] = []
        self._lock = threading.Lock()  # the thread that reads closes, the one that computes answers
        try:
            for _ in range(2):
                self._areas.append(Area.given(recv_handle(self.connection)))
            send_handle(self.connection, board.descriptor, 0)
            wire.without_timeout(self.connection)
        except BaseException:
            self.close()
            raise

    def values(self, size: int) -> Values:
        """What the client asks about, as views of its memory: it waits, so that they stay good."""
        return unpacked(self._areas[0].read(size))["values"]

    def answer(self, outputs: Mapping[str, NDArray[Any]], use: GpuUse | None = None) -> None:
        """Hand the outputs over, and what they took of the GPU."""
        batch = packed(outputs)
        with self._lock:
            if not self.connection.closed:
                self._send({"bytes": self._areas[1].write(batch), "gpu": use and asdict(use)})

    def say(self, message: Mapping[str, Any]) -> None:
        """Send a message that needs no more memory."""
        with self._lock:
            if not self.connection.closed:
                self._send(message)

    def close(self) -> None:
        """Let go of everything of this client."""
        with self._lock:
            self.connection.close()
            for area in self._areas:
                area.close()

    def _send(self, message: Mapping[str, Any]) -> None:
        with suppress(ConnectionError):  # a client that is gone is seen by the thread that reads
            wire.send(self.connection, message)
