"""Where a worker's model is: in the worker itself, or in host processes that own the devices."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from udfs.models import base
from udfs.models.base import Model
from udfs.plan import Runtime, Scorer

_GPU_JOIN = {
    "join_rows": 4096,
    "join_tokens": 32768,
}  # what keeps a GPU busy is more than a CPU's share


def model_of(scorer: Scorer, gpu_addresses: Sequence[str]) -> Model:
    """The scorer's model on the task's device, or on a replica a device.

    On a GPU one host process a device owns the model and serves all workers of the executor, unless
    the job says ``host: off``; on a CPU each worker has its own, unless it says ``host: on``. Models
    that write texts keep a batch going themselves, and stay with their worker. Raises RunFailed for
    a device that is not there.
    """
    from udfs.host.devices import devices

    runtime = scorer.runtime
    names = devices(runtime.device, gpu_addresses, _cuda_count(runtime))
    if scorer.host == "on" or (scorer.host == "auto" and names[0] != "cpu" and not _writes(scorer)):
        return _in_hosts(scorer, names)
    return base.load(scorer.folder, scorer.digest, replace(runtime, device=names[0]))


def _in_hosts(scorer: Scorer, devices: Sequence[str]) -> Model:
    """A lease on a host a device; they end with the task."""
    from udfs.host.client import hosted
    from udfs.host.place import HostPlace, executor_pid
    from udfs.host.replicas import Replicas

    owner, folder = executor_pid(), Path(tempfile.gettempdir())
    leases = [
        hosted(
            scorer.folder,
            scorer.digest,
            scorer.runtime,
            HostPlace(folder, owner, device, **({} if device == "cpu" else _GPU_JOIN)),
        )
        for device in devices
    ]
    return leases[0] if len(leases) == 1 else Replicas(leases)


def _writes(scorer: Scorer) -> bool:
    return base.read_card(scorer.folder).postprocess.name == "generate"


def _cuda_count(runtime: Runtime) -> int:
    """CUDA devices that the runtime could use; torch is asked only where it may be what computes."""
    if runtime.device == "cpu" or runtime.backend == "openvino":
        return 0
    import torch

    return torch.cuda.device_count()
