"""spark-submit as a user types it, with the settings of conf/."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pyspark

ROOT = Path(__file__).resolve().parents[1]
HOME = Path(pyspark.__file__).parent
PATIENCE_S = 600  # a busy machine imports torch for a minute


def submit(
    master: str,
    package: Path,
    python: Path,
    job_file: Path,
    overrides: Mapping[str, object],
    *options: str,
    conf: str = "local",
) -> subprocess.CompletedProcess[str]:
    """Submit a job to a master, with ``--json``; ``options`` are spark-submit's own.

    Workers run ``python`` too, unless the options name their own.
    """
    command = [
        str(HOME / "bin" / "spark-submit"),
        *("--master", master, "--properties-file", str(ROOT / "conf" / "spark" / f"{conf}.conf")),
        *("--py-files", str(package), *options),
        *(str(ROOT / "pipelines" / "score.py"), str(job_file), "--json"),
        *(word for key, value in overrides.items() for word in ("--set", f"{key}={value}")),
    ]
    environment = {
        **os.environ,
        "SPARK_HOME": str(HOME),
        "PYSPARK_PYTHON": str(python),
        "PYSPARK_DRIVER_PYTHON": str(python),
    }
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=environment,
        cwd=package.parent,
        timeout=PATIENCE_S,
        check=False,
    )
