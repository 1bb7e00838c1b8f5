"""A run as one HTML page that needs nothing else; made from the tables alone."""

from __future__ import annotations

from pathlib import Path


def write(lake: Path, run_id: str) -> Path:
    """Write the report of a run; its path."""
    return lake / "_reports" / f"{run_id}.html"
