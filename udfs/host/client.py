"""A model in a host process: decoded here, computed there; the engine sees no difference."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
from numpy.typing import NDArray

from millrace.schemas.errors import RunFailed
from millrace.schemas.model import ModelCard
from millrace.udfs.backends.gpu_usage import GpuUse, together
from millrace.udfs.host.address import HostSpec
from millrace.udfs.host.election import tail
from millrace.udfs.host.lease import ModelLease
from millrace.udfs.models.loaded_model import reader_of
from millrace.udfs.models.model_loading import promised_card
from millrace.udfs.runtime.examples import Decoder, Examples, Values
from millrace.udfs.runtime.plan import Runtime


def hosted(folder: Path, digest: str, runtime: Runtime, place: HostSpec) -> HostedModel:
    """Return the model in the host of ``place``, which is started if needed, on its device.

    The host keeps the model until this object is closed or collected. Raises what loading raises there:
    ModelError, or RunFailed if the host has no memory for it.
    """
    return HostedModel(folder, digest, replace(runtime, device=place.device), place)


class HostedModel:
    """A lease on a model in a host process. Several threads may call `predict`."""

    def __init__(self, folder: Path, digest: str, runtime: Runtime, place: HostSpec) -> None:
        self._place = place
        self._request = {
            "folder": str(folder.absolute()),
            "digest": digest,
            "runtime": asdict(runtime),
        }
        self._lock = threading.Lock()
        self._idle: list[ModelLease] = []
        self._gpu_uses: list[GpuUse] = []
        self.card, self._decode = _reader(folder, digest)
        self._idle.append(self._answered(None))
        self.runtime = self._idle[0].runtime
        self.device = self.runtime.device
        self.close = weakref.finalize(self, _close_all, self._idle)

    def decode(self, batch: pa.RecordBatch) -> Examples:
        """Decode the model's input columns in this process."""
        return self._decode(batch)

    def predict(self, values: Values) -> Mapping[str, NDArray[Any]]:
        """Return the outputs of the signature, each ``[rows, ...]``, computed by the host.

        If the host dies, a new one is started and the request repeated: predicting has no side effect.

        Raises:
            RunFailed: ``deaths`` hosts died, or the model raised an error that is not one of Millrace's.
            MillraceError: the model raised it.
            MemoryError: the model ran out of memory.
        """
        found: Mapping[str, NDArray[Any]] = self._answered(values)
        return found

    def gpu_used(self) -> GpuUse | None:
        """Return the GPU use for this process since the last call; None if there is none."""
        with self._lock:
            uses, self._gpu_uses = self._gpu_uses, []
        return together(uses)

    def outstanding(self) -> int:
        """Return the host's outstanding work: rows, or padded tokens, of all clients."""
        return self._latest.outstanding()

    def _answered(self, values: Values | None) -> Any:
        """The outputs for ``values``; for None a lease. Whatever host it takes."""
        for _ in range(self._place.deaths):
            lease = None
            try:
                lease = self._acquire()
                if values is None:
                    return lease
                outputs = lease.predict(values)
            except (EOFError, ConnectionError):
                self._forget(lease)
                continue
            except BaseException:
                self._give_back(lease)
                raise
            self._give_back(lease)
            return outputs
        raise RunFailed(
            f"the host of {self._place.device} died {self._place.deaths} times over the same work",
            got=tail(self._place.directory),
            next="see whether the system's out-of-memory killer ended it",
        )

    def _acquire(self) -> ModelLease:
        """A lease that no other thread uses."""
        with self._lock:
            if self._idle:
                return self._idle.pop()
        self._latest = ModelLease(self._place, self._request)
        return self._latest

    def _give_back(self, lease: ModelLease | None) -> None:
        if lease is not None and not lease.is_between_questions:  # interrupted
            lease.close()
        elif lease is not None:
            with self._lock:
                self._idle.append(lease)
                self._gpu_uses += [lease.gpu_use] if lease.gpu_use else []
                lease.gpu_use = None

    def _forget(self, lease: ModelLease | None) -> None:
        """The host is gone, so all leases on it are void."""
        with self._lock:
            void, self._idle[:] = [*self._idle], []
        for one in [*void, *([lease] if lease else [])]:
            one.close()


def _close_all(leases: list[ModelLease]) -> None:
    for lease in leases:
        lease.close()


@lru_cache(maxsize=8)
def _reader(folder: Path, digest: str) -> tuple[ModelCard, Decoder]:
    """The folder's card and decoder, once a process. Raises ModelError where the folder changed."""
    card = promised_card(folder, digest)
    if card.postprocess.name == "generate":
        raise RunFailed(
            f"model {card.title} writes texts, which host processes do not do yet",
            allowed="models that classify, embed or give values",
            next="load it in the worker: engine.host: off",
        )
    decoder, _ = reader_of(folder, card)
    return card, decoder
