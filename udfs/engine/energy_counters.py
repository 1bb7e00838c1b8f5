"""Energy counters of this machine in joules: of processors by RAPL, of a GPU by NVML."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

POWERCAP = Path("/sys/class/powercap")
STAT = Path("/proc/stat")
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_BUSY = (0, 1, 2, 5, 6)  # of the numbers in STAT: user, nice, system, irq, softirq


@dataclass(frozen=True)
class RaplZone:
    """A counter of microjoules that wraps to 0 after ``last_uj``."""

    path: Path
    last_uj: int

    def read_uj(self) -> int:
        """Return the counter's value. Raises OSError if it is not readable."""
        return int(self.path.read_text("ascii"))

    def grown_uj(self, before_uj: int, now_uj: int) -> int:
        """Return the growth between two readings, with at most one wrap."""
        return (now_uj - before_uj) % (self.last_uj + 1)


def zones(powercap: Path = POWERCAP) -> list[RaplZone]:
    """Return the counters of packages and their memory; empty if there are none, or only root reads them.

    ``psys`` includes the packages, and ``core`` and ``uncore`` are parts of them.
    """
    found = []
    with suppress(OSError, ValueError):
        for folder in sorted(powercap.glob("*-rapl:*")):
            name = (folder / "name").read_text("ascii").strip()
            if name.startswith("package") or name == "dram":
                last_uj = int((folder / "max_energy_range_uj").read_text("ascii"))
                found.append(RaplZone(folder / "energy_uj", last_uj))
                found[-1].read_uj()
        return found
    return []


def busy_s(stat: Path = STAT) -> float:
    """Return CPU seconds of all processes since boot, without idle time."""
    with stat.open("rb") as file:
        fields = file.readline().split()[1:]
    return sum(int(fields[at]) for at in _BUSY) / _TICKS_A_SECOND


class CpuEnergy:
    """This process's share of the processors' energy, by its share of CPU time."""

    def __init__(self, there: list[RaplZone], stat: Path = STAT) -> None:
        self._zones, self._stat = there, stat
        self._shown = self._read()

    def joules_since_last(self, cpu_s: float) -> float | None:
        """Return joules since the last call, in which this process used ``cpu_s``; None without counters."""
        if not self._zones:
            return None
        before, self._shown = self._shown, self._read()
        grown = zip(self._zones, before[0], self._shown[0], strict=True)
        joules = sum(zone.grown_uj(was, now) for zone, was, now in grown) / 1e6
        everybody_s = max(self._shown[1] - before[1], cpu_s)  # its clock is coarser than ours
        return joules * cpu_s / everybody_s if everybody_s else 0.0

    def _read(self) -> tuple[list[int], float]:
        if not self._zones:
            return [], 0.0
        return [zone.read_uj() for zone in self._zones], busy_s(self._stat)


class EnergyCounter(Protocol):
    """A counter of joules that never wraps."""

    def joules(self) -> float:
        """Return joules since some fixed time."""
        ...


class GpuEnergy:
    """The energy of one GPU, of all processes together; the driver divides it."""

    def __init__(self, counter: EnergyCounter | None) -> None:
        self._counter = counter
        self._shown = counter.joules() if counter else 0.0

    def joules_since_last(self) -> float | None:
        """Return joules since the last call; None without a counter."""
        if self._counter is None:
            return None
        before, self._shown = self._shown, self._counter.joules()
        return self._shown - before


class NvmlCounter:
    """NVIDIA's energy counter of a GPU, by the package nvidia-ml-py."""

    def __init__(self, nvml: Any, card: Any) -> None:
        self._nvml, self._card = nvml, card
        self.joules()  # cards before Volta have none

    def joules(self) -> float:
        """Return joules since the GPU's driver was loaded."""
        return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._card)) / 1000


def nvml_of(device: str) -> NvmlCounter | None:
    """Return the counter of ``cuda`` or ``cuda:N``; None without a counter or the package."""
    if not device.startswith("cuda") or "," in device:
        return None
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        name = visible(device, os.environ.get("CUDA_VISIBLE_DEVICES"))
        if name.isdecimal():
            return NvmlCounter(pynvml, pynvml.nvmlDeviceGetHandleByIndex(int(name)))
        return NvmlCounter(pynvml, pynvml.nvmlDeviceGetHandleByUUID(name))
    except pynvml.NVMLError:
        return None


def visible(device: str, mask: str | None) -> str:
    """Return the machine's number or UUID of a device that CUDA numbers among the visible ones."""
    place = int(device.partition(":")[2] or 0)
    names = [name.strip() for name in mask.split(",")] if mask else []
    return names[place] if place < len(names) else str(place)
