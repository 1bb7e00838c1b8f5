"""One model on several devices: which of them computes the next batch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import pyarrow as pa
from numpy.typing import NDArray

from udfs.decode import Examples, Values
from udfs.host.payload import cost_of
from udfs.models.base import Model
from udfs.models.gpu import GpuUse, together


class Replica(Model, Protocol):
    """A model that knows how much it still has to do."""

    def outstanding(self) -> int:
        """Rows, or padded tokens, that anybody asked for and has no answer to."""
        ...

    def gpu_used(self) -> GpuUse | None:
        """What its GPU took for this process since the last call; None where it has none."""
        ...


# From the work that is outstanding at each replica, and who was last, to who is next.
Route = Callable[[Sequence[int], int], int]


def least_outstanding(work: Sequence[int], last: int) -> int:
    """The replica with the least to do; among equals the next in turn."""
    turn = [(last + 1 + step) % len(work) for step in range(len(work))]
    return min(turn, key=lambda index: work[index])


def round_robin(work: Sequence[int], last: int) -> int:
    """The next in turn, whatever it has to do."""
    return (last + 1) % len(work)


ROUTES: dict[str, Route] = {"least_outstanding": least_outstanding, "round_robin": round_robin}


class Replicas:
    """Equal models as one. Several threads, or several processes, are needed to keep them all busy."""

    def __init__(self, replicas: Sequence[Replica], route: str = "least_outstanding") -> None:
        self.card, self.runtime = replicas[0].card, replicas[0].runtime
        self.device = ",".join(replica.device for replica in replicas)
        self._replicas, self._route = replicas, ROUTES[route]
        self._lock = threading.Lock()
        self._own = [0] * len(replicas)  # asked by this process
        self._last = len(replicas) - 1

    def decode(self, batch: pa.RecordBatch) -> Examples:
        """The model's input columns as what `predict` reads."""
        return self._replicas[0].decode(batch)

    def predict(self, values: Values) -> Mapping[str, NDArray[Any]]:
        """The outputs of whichever replica the route names."""
        with self._chosen(values) as replica:
            return replica.predict(values)

    def gpu_used(self) -> GpuUse | None:
        """What the replicas' GPUs took for this process since the last call."""
        return together([use for one in self._replicas if (use := one.gpu_used())])

    @contextmanager
    def _chosen(self, values: Values) -> Iterator[Replica]:
        rows, longest = cost_of(values)
        with self._lock:
            index = self._last = self._route(self._work(), self._last)
            self._own[index] += rows * longest
        try:
            yield self._replicas[index]
        finally:
            with self._lock:
                self._own[index] -= rows * longest

    def _work(self) -> list[int]:
        """What each has to do: as its host says, or as this process knows before the host does."""
        told = (replica.outstanding() for replica in self._replicas)
        return [max(work, own) for work, own in zip(told, self._own, strict=True)]
