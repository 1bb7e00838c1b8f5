"""A working directory that holds what a user's own may: names that Millrace and its libraries have, too."""

from __future__ import annotations

from pathlib import Path

PACKAGES = ("schemas", "udfs", "pipelines", "examples")
MODULES = ("torch", "numpy", "pyarrow", "pyspark")
_CODE = 'raise ImportError(f"{__file__} of the working directory was imported")\n'


def set_traps(folder: Path) -> Path:
    """Packages and modules that raise when anything imports them."""
    for name in PACKAGES:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(_CODE)
    for name in MODULES:
        (folder / f"{name}.py").write_text(_CODE)
    return folder
