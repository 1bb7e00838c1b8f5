"""What the figures were measured with: versions and the machine, without its name or its paths."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

PACKAGES = ("torch", "pyspark", "delta-spark", "pyarrow", "transformers", "numpy", "pandas")


def versions() -> dict[str, str]:
    """Python's and the packages' versions."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def machine() -> dict[str, Any]:
    """The CPU's model, cores and memory."""
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": platform.system(),
    }


def cpu_model() -> str:
    """The model name as the system tells it, else the architecture."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        found = re.search(r"^model name\s*:\s*(.+)$", info.read_text("utf-8"), re.MULTILINE)
        if found:
            return found[1].strip()
    return platform.processor() or platform.machine()


def slug(cpu: str) -> str:
    """A CPU's name as part of a file's name: ``Intel(R) Xeon(R) CPU`` to ``intel-xeon-cpu``."""
    plain = re.sub(r"\((?:R|TM|C)\)", "", cpu, flags=re.IGNORECASE).lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
