"""The host's side of a client's connection."""

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

from millrace.udfs.backends.gpu_usage import GpuUse
from millrace.udfs.host import protocol
from millrace.udfs.host.payload import packed, unpacked
from millrace.udfs.host.shared_memory import Area
from millrace.udfs.runtime.examples import Values


class Tenant:
    """An authenticated client: its shared memory, and its connection."""

    def __init__(self, opened: socket.socket, key: bytes, board: Area, timeout_s: float) -> None:
        self.connection: Connection[Any, Any] = protocol.proven(
            opened, key, is_host=True, timeout_s=timeout_s
        )
        self._areas: list[Area] = []
        self._lock = threading.Lock()  # the thread that reads closes, the one that computes answers
        try:
            for _ in range(2):
                self._areas.append(Area.given(recv_handle(self.connection)))
            send_handle(self.connection, board.descriptor, 0)
            protocol.without_timeout(self.connection)
        except BaseException:
            self.close()
            raise

    def values(self, size: int) -> Values:
        """Return the rows of a request as views of the client's memory, which stays unchanged meanwhile."""
        return unpacked(self._areas[0].read(size))["values"]

    def answer(self, outputs: Mapping[str, NDArray[Any]], use: GpuUse | None = None) -> None:
        """Send the outputs, and their GPU use."""
        batch = packed(outputs)
        with self._lock:
            if not self.connection.closed:
                self._send({"bytes": self._areas[1].write(batch), "gpu": use and asdict(use)})

    def say(self, message: Mapping[str, Any]) -> None:
        """Send a message without outputs."""
        with self._lock:
            if not self.connection.closed:
                self._send(message)

    def close(self) -> None:
        """Release the connection and the memory."""
        with self._lock:
            self.connection.close()
            for area in self._areas:
                area.close()

    def _send(self, message: Mapping[str, Any]) -> None:
        with suppress(ConnectionError):  # a client that is gone is seen by the thread that reads
            protocol.send(self.connection, message)
