"""Where a worker's model is: in the worker itself, or in host processes that own the devices."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import psutil

from udfs.models import base
from udfs.models.base import Model
from udfs.plan import Runtime, Scorer

_SHARE = 0.9  # of a device's memory that models and their work may take
_CPU_SHARE = 0.5  # of the machine's: Spark and the workers live there too


def model_of(scorer: Scorer, gpu_addresses: Sequence[str]) -> Model:
    """The scorer's model on the task's device, or on a replica a device; made once a process.

    On a GPU one host process a device owns the model and serves all workers of the executor, unless
    the job says ``host: off``; on a CPU each worker has its own, unless it says ``host: on``.
    Raises RunFailed for a device that is not there.
    """
    from udfs.host.devices import devices

    runtime = scorer.runtime
    names = devices(runtime.device, gpu_addresses, _cuda_count(runtime))
    if scorer.host == "on" or (scorer.host == "auto" and names[0] != "cpu"):
        return _in_hosts(scorer, names)
    return base.load(scorer.folder, scorer.digest, replace(runtime, device=names[0]))


def _in_hosts(scorer: Scorer, devices: Sequence[str]) -> Model:
    from udfs.host.client import hosted
    from udfs.host.place import HostPlace, executor_pid
    from udfs.host.replicas import Replicas

    key = (scorer.digest, scorer.runtime, tuple(devices))
    if key not in _HOSTED:
        owner, folder = executor_pid(), Path(tempfile.gettempdir())
        leases = [
            hosted(
                scorer.folder,
                scorer.digest,
                scorer.runtime,
                HostPlace(folder, owner, device, _limit_bytes(device)),
            )
            for device in devices
        ]
        _HOSTED[key] = leases[0] if len(leases) == 1 else Replicas(leases)
    return _HOSTED[key]


_HOSTED: dict[tuple[str, Runtime, tuple[str, ...]], Model] = {}


def _cuda_count(runtime: Runtime) -> int:
    """CUDA devices that the runtime could use; torch is asked only where it may be what computes."""
    if runtime.device == "cpu" or runtime.backend == "openvino":
        return 0
    import torch

    return torch.cuda.device_count()


def _limit_bytes(device: str) -> int:
    if device == "cpu":
        return int(_CPU_SHARE * psutil.virtual_memory().total)
    import torch

    return int(_SHARE * torch.cuda.get_device_properties(device).total_memory)
