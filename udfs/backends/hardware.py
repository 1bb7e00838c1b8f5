"""Capabilities of this machine's processor, GPU and packages."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from functools import lru_cache
from pathlib import Path

# Kernel names of instructions that multiply in the precision. Without them it would only be emulated.
_CPU_FLAGS: dict[str, frozenset[str]] = {
    "bf16": frozenset({"avx512_bf16", "amx_bf16", "bf16"}),
    "fp16": frozenset({"avx512_fp16", "amx_fp16", "asimdhp"}),
    "int8": frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"}),
}
_CARD_DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # NVIDIA's, WSL's, AMD's
_BF16_CAPABILITY = (8, 0)  # Ampere
_FP16_CAPABILITY = (5, 3)


@lru_cache(maxsize=1)
def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Return the processor's features by the kernel's names; empty if the kernel does not list them."""
    if not cpuinfo.is_file():
        return frozenset()
    for line in cpuinfo.read_text("ascii", "replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def cpu_precisions() -> tuple[str, ...]:
    """Return fp32, and the precisions that the processor has instructions for."""
    return ("fp32", *(name for name, any_of in _CPU_FLAGS.items() if any_of & cpu_flags()))


def openvino_precisions() -> tuple[str, ...]:
    """Return the precisions that OpenVINO computes in hardware here. Imports OpenVINO.

    OpenVINO also offers bf16 where it emulates it, so the processor must have it, too.
    """
    import openvino

    offered = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    capable = [name for name in ("bf16", "fp16") if name.upper() in offered]
    return ("fp32", *(name for name in capable if name in cpu_precisions()))


def cuda_precisions(device: str) -> tuple[str, ...]:
    """Return the precisions that a CUDA device multiplies in hardware. Imports torch."""
    import torch

    capability = torch.cuda.get_device_capability(device)
    found = ["fp32"]
    if capability >= _BF16_CAPABILITY:
        found.append("bf16")
    if capability >= _FP16_CAPABILITY:
        found.append("fp16")
    return tuple(found)


def name_of(device: str) -> str:
    """Return the processor's name and relevant instructions, or the GPU's name if CUDA is used."""
    if device != "cpu" and has_cuda():
        import torch

        return torch.cuda.get_device_name(None if device == "auto" else device)
    info = Path("/proc/cpuinfo")
    lines = info.read_text("ascii", "replace").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    instructions = sorted({flag for any_of in _CPU_FLAGS.values() for flag in any_of} & cpu_flags())
    return f"{names[0] if names else platform.machine()} ({' '.join(instructions)})"


def has_package(name: str) -> bool:
    """Whether a package is installed, without importing it."""
    return importlib.util.find_spec(name) is not None


def shows_card() -> bool:
    """Whether the system has a GPU driver; True where that cannot be checked."""
    return platform.system() != "Linux" or any(map(os.path.exists, _CARD_DRIVERS))


def has_cuda() -> bool:
    """Whether torch can compute on CUDA. Imports torch only where Linux shows a card's driver."""
    if not has_package("torch") or not shows_card():
        return False
    import torch

    return torch.cuda.is_available()


def has_compiler() -> bool:
    """Whether torch.compile finds the C++ compiler that it needs for a CPU."""
    return shutil.which(os.environ.get("CXX") or "g++") is not None
