"""What the figures were measured with: versions and the machine, without its name or its paths."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

PACKAGES = ("torch", "pyspark", "delta-spark", "openvino", "transformers", "pyarrow", "numpy")
PEERS = ("ray", "daft", "mlflow-skinny", "sentence-transformers")  # in environments of their own


def versions() -> dict[str, str]:
    """Python's, the packages' and the peers' versions."""
    here = {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}
    return here | {name: _pinned(name) for name in PEERS}


def _pinned(name: str) -> str:
    """The version of a peer, as its environment's list pins it."""
    lists = sorted((Path(__file__).parent / "peers").glob("*.txt"))
    lines = [line for path in lists for line in path.read_text("utf-8").splitlines()]
    (found,) = [line for line in lines if line.startswith(f"{name}==")]
    return found.removeprefix(f"{name}==")


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
