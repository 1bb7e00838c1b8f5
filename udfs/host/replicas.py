"""One model on several devices, and the choice of the device for the next batch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import pyarrow as pa
from numpy.typing import NDArray

from millrace.udfs.backends.gpu_usage import GpuUse, together
from millrace.udfs.host.payload import cost_of
from millrace.udfs.models.model_loading import Model
from millrace.udfs.runtime.examples import Examples, Values


class Replica(Model, Protocol):
    """A model that knows its outstanding work."""

    def outstanding(self) -> int:
        """Return outstanding rows, or padded tokens, of all clients."""
        ...

    def gpu_used(self) -> GpuUse | None:
        """Return its GPU use for this process since the last call; None if it has no GPU."""
        ...


# From the work that is outstanding at each replica, and who was last, to who is next.
Route = Callable[[Sequence[int], int], int]


def least_outstanding(work: Sequence[int], last: int) -> int:
    """Return the replica with the least work; among equals the next in turn."""
    turn = [(last + 1 + step) % len(work) for step in range(len(work))]
    return min(turn, key=lambda index: work[index])


def round_robin(work: Sequence[int], last: int) -> int:
    """Return the next replica in turn."""
    return (last + 1) % len(work)


ROUTES: dict[str, Route] = {"least_outstanding": least_outstanding, "round_robin": round_robin}


class Replicas:
    """Several equal models as one; only several threads or processes keep them all busy."""

    def __init__(self, replicas: Sequence[Replica], route: str = "least_outstanding") -> None:
        self.card, self.runtime = replicas[0].card, replicas[0].runtime
        self.device = ",".join(replica.device for replica in replicas)
        self._replicas, self._route = replicas, ROUTES[route]
        self._lock = threading.Lock()
        self._own = [0] * len(replicas)  # requested by this process
        self._last = len(replicas) - 1

    def decode(self, batch: pa.RecordBatch) -> Examples:
        """Decode the model's input columns."""
        return self._replicas[0].decode(batch)

    def predict(self, values: Values) -> Mapping[str, NDArray[Any]]:
        """Return the outputs of the replica that the route chooses."""
        with self._chosen(values) as replica:
            return replica.predict(values)

    def gpu_used(self) -> GpuUse | None:
        """Return the GPU use of all replicas for this process since the last call."""
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
        reported = (replica.outstanding() for replica in self._replicas)
        return [max(work, own) for work, own in zip(reported, self._own, strict=True)]
