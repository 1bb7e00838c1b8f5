"""Devices that a worker may use: by the job, by Spark's assignment to the task, and by the machine."""

from __future__ import annotations

from collections.abc import Sequence

from millrace.schemas.errors import RunFailed


def devices(requested: str, addresses: Sequence[str], cuda_count: int) -> tuple[str, ...]:
    """Return ``("cpu",)``, or the names of CUDA devices, at least one.

    Args:
        requested: auto, cpu, cuda or cuda:N.
        addresses: the task's resource ``gpu``, read as CUDA's numbers; empty if Spark schedules none.
        cuda_count: the devices that this process sees.

    Raises:
        RunFailed: CUDA was requested or assigned, and is missing. There is no fallback to the CPU.
    """
    if requested == "cpu" or (requested == "auto" and not addresses and not cuda_count):
        return ("cpu",)
    given = [_number(address) for address in addresses] or list(range(cuda_count))
    if requested.startswith("cuda:"):
        wanted = _number(requested.removeprefix("cuda:"))
        if addresses and wanted not in given:
            raise _not_there(
                requested, f"Spark gave the task gpu {', '.join(addresses)}", cuda_count
            )
        given = [wanted]
    if not given or max(given) >= cuda_count:
        assignment = f"Spark gave the task gpu {', '.join(addresses) or 'none'}"
        raise _not_there(requested, assignment, cuda_count)
    return tuple(f"cuda:{number}" for number in given)


def _number(address: str) -> int:
    if address.isdecimal():
        return int(address)
    raise RunFailed(
        "a GPU's address is not a number",
        got=address,
        allowed="what spark.executor.resource.gpu.discoveryScript prints: 0, 1, ...",
        next="change the script, or set engine.device to cuda:N",
    )


def _not_there(requested: str, assignment: str, cuda_count: int) -> RunFailed:
    return RunFailed(
        f"device {requested} cannot be had in this worker",
        got=f"{cuda_count} CUDA devices visible; {assignment}",
        allowed="a device that is both visible and the task's",
        next="set engine.device to cpu or auto, or give the executors GPUs",
    )
