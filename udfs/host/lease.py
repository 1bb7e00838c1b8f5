"""The client's side of a connection; while it is open, the host keeps the model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from multiprocessing.reduction import recv_handle, send_handle
from typing import Any

from numpy.typing import NDArray

from millrace.udfs.backends.gpu_usage import GpuUse
from millrace.udfs.host import protocol
from millrace.udfs.host.address import HostSpec
from millrace.udfs.host.election import connect
from millrace.udfs.host.payload import owned, packed, unpacked
from millrace.udfs.host.shared_memory import Area
from millrace.udfs.runtime.examples import Values
from millrace.udfs.runtime.plan import Runtime


class ModelLease:
    """A lease on a model in a host, for one request at a time; ``runtime`` is the resolved one."""

    def __init__(self, place: HostSpec, request: Mapping[str, Any]) -> None:
        self._connection = connect(place)
        self.is_between_questions = True  # else an answer is still to come, and nobody will read it
        self._questions, self._answers = Area.made(), Area.made()
        self._board: Area | None = None
        self.gpu_use: GpuUse | None = None  # of the last answer
        try:
            for area in (self._questions, self._answers):
                send_handle(self._connection, area.descriptor, os.getpid())
            self._board = Area.given(recv_handle(self._connection))
            protocol.without_timeout(self._connection)
            self._counter = self._board.counter()
            protocol.send(self._connection, {"do": "ensure", **request})
            self.runtime = Runtime(**self._answer()["runtime"])
        except BaseException:
            self.close()
            raise

    def predict(self, values: Values) -> Mapping[str, NDArray[Any]]:
        """Return the host's outputs. Raises what the host raised, or EOFError or ConnectionError."""
        size = self._questions.write(packed({"values": values}))
        self.is_between_questions = False
        protocol.send(self._connection, {"do": "predict", "bytes": size})
        answer = self._answer()
        self.gpu_use = GpuUse(**answer["gpu"]) if answer["gpu"] else None
        return owned(unpacked(self._answers.read(answer["bytes"])))

    def outstanding(self) -> int:
        """Return the host's outstanding work of all clients."""
        return int(self._counter[0])

    def close(self) -> None:
        """End the lease; the host notices at once."""
        self._connection.close()
        for area in (self._questions, self._answers, self._board):
            if area is not None:
                area.close()

    def _answer(self) -> dict[str, Any]:
        answer = protocol.receive(self._connection)
        self.is_between_questions = True
        if "kind" in answer:
            raise protocol.rebuilt(answer)
        return answer
