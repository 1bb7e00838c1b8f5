"""A client's side of one connection: while it is open, the host keeps the model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from multiprocessing.reduction import recv_handle, send_handle
from typing import Any

from numpy.typing import NDArray

from udfs.decode import Values
from udfs.host import wire
from udfs.host.area import Area
from udfs.host.election import connect
from udfs.host.payload import owned, packed, unpacked
from udfs.host.place import HostPlace
from udfs.models.gpu import GpuUse
from udfs.plan import Runtime


class Lease:
    """One model in one host, one question at a time; ``runtime`` is as the host resolved it."""

    def __init__(self, place: HostPlace, asked: Mapping[str, Any]) -> None:
        self._connection = connect(place)
        self.is_between_questions = True  # else an answer is still to come, and nobody will read it
        self._questions, self._answers = Area.made(), Area.made()
        self._board: Area | None = None
        self.gpu_use: GpuUse | None = None  # of the last answer
        try:
            for area in (self._questions, self._answers):
                send_handle(self._connection, area.descriptor, os.getpid())
            self._board = Area.given(recv_handle(self._connection))
            wire.without_timeout(self._connection)
            self._counter = self._board.counter()
            wire.send(self._connection, {"do": "ensure", **asked})
            self.runtime = Runtime(**self._answer()["runtime"])
        except BaseException:
            self.close()
            raise

    def predict(self, values: Values) -> Mapping[str, NDArray[Any]]:
        """The host's outputs for ``values``; raises what it raised, or EOFError and ConnectionError."""
        size = self._questions.write(packed({"values": values}))
        self.is_between_questions = False
        wire.send(self._connection, {"do": "predict", "bytes": size})
        answer = self._answer()
        self.gpu_use = GpuUse(**answer["gpu"]) if answer["gpu"] else None
        return owned(unpacked(self._answers.read(answer["bytes"])))

    def outstanding(self) -> int:
        """The work that the host has been asked for by anybody, and has not answered yet."""
        return int(self._counter[0])

    def close(self) -> None:
        """End the lease; the host sees it at once."""
        self._connection.close()
        for area in (self._questions, self._answers, self._board):
            if area is not None:
                area.close()

    def _answer(self) -> dict[str, Any]:
        answer = wire.receive(self._connection)
        self.is_between_questions = True
        if "kind" in answer:
            raise wire.rebuilt(answer)
        return answer
