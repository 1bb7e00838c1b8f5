"""Where a worker's model is: in the worker itself, or in host processes that own the devices."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from millrace.udfs.models import model_loading
from millrace.udfs.models.model_loading import Model
from millrace.udfs.runtime.plan import Runtime, Scorer

_GPU_JOIN = {
    "join_rows": 4096,
    "join_tokens": 32768,
}  # what keeps a GPU busy is more than a CPU's share


def model_of(scorer: Scorer, gpu_addresses: Sequence[str]) -> Model:
    """Return the scorer's model on the task's device, or a replica per device.

    On a GPU one host process per device owns the model and serves all workers of the executor, unless the
    job says ``host: off``. On a CPU each worker has its own, unless the job says ``host: on``. Models
    that generate texts batch by themselves, and stay in their worker. Raises RunFailed for a device that
    is missing.
    """
    from millrace.udfs.host.devices import devices

    runtime = scorer.runtime
    names = devices(runtime.device, gpu_addresses, _cuda_count(runtime))
    if scorer.host == "on" or (scorer.host == "auto" and names[0] != "cpu" and not _writes(scorer)):
        return _in_hosts(scorer, names)
    return model_loading.load(scorer.folder, scorer.digest, replace(runtime, device=names[0]))


def _in_hosts(scorer: Scorer, devices: Sequence[str]) -> Model:
    """A lease on a host a device; they end with the task."""
    from millrace.udfs.host.address import HostSpec, executor_pid
    from millrace.udfs.host.client import hosted
    from millrace.udfs.host.replicas import Replicas

    owner, folder = executor_pid(), Path(tempfile.gettempdir())
    leases = [
        hosted(
            scorer.folder,
            scorer.digest,
            scorer.runtime,
            HostSpec(folder, owner, device, **({} if device == "cpu" else _GPU_JOIN)),
        )
        for device in devices
    ]
    return leases[0] if len(leases) == 1 else Replicas(leases)


def _writes(scorer: Scorer) -> bool:
    return model_loading.read_card(scorer.folder).postprocess.name == "generate"


def _cuda_count(runtime: Runtime) -> int:
    """Return the number of CUDA devices that the runtime can use; it imports torch only where needed."""
    if runtime.device == "cpu" or runtime.backend == "openvino":
        return 0
    import torch

    return torch.cuda.device_count()
