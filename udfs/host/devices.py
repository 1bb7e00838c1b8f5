"""Which devices a worker may use: what was asked for, what Spark gave its task, what the machine has."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.errors import RunFailed


def devices(asked: str, addresses: Sequence[str], cuda_count: int) -> tuple[str, ...]:
    """``("cpu",)``, or the names of CUDA devices, at least one.

    ``asked`` is auto, cpu, cuda or cuda:N; ``addresses`` are those of the task's ``gpu`` resource,
    empty where Spark schedules none; ``cuda_count`` is how many devices this process sees. Spark's
    addresses are taken as CUDA's numbers. Raises RunFailed where CUDA was asked for or given, and is
    not there: nothing falls back to the CPU.
    """
    if asked == "cpu" or (asked == "auto" and not addresses and not cuda_count):
        return ("cpu",)
    given = [_number(address) for address in addresses] or list(range(cuda_count))
    if asked.startswith("cuda:"):
        wanted = _number(asked.removeprefix("cuda:"))
        if addresses and wanted not in given:
            raise _not_there(asked, f"Spark gave the task gpu {', '.join(addresses)}", cuda_count)
        given = [wanted]
    if not given or max(given) >= cuda_count:
        told = f"Spark gave the task gpu {', '.join(addresses) or 'none'}"
        raise _not_there(asked, told, cuda_count)
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


def _not_there(asked: str, told: str, cuda_count: int) -> RunFailed:
    return RunFailed(
        f"device {asked} cannot be had in this worker",
        got=f"{cuda_count} CUDA devices visible; {told}",
        allowed="a device that is both visible and the task's",
        next="set engine.device to cpu or auto, or give the executors GPUs",
    )
