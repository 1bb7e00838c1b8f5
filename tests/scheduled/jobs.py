"""The job that the tests schedule: three days of small images, six files a day."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.helpers import image_table, images, job_of, pixel_mlp, write_parquet
from tests.scheduled.home import ROOT

DAYS = ("2026-11-01", "2026-11-02", "2026-11-03")
ROWS, FILES = 60, 6


def pixels(day: str) -> list[bytes]:
    """The images of a day."""
    return images(ROWS, seed=DAYS.index(day))


def daily_job(folder: Path, **changes: Any) -> Path:
    """A job file named digits over one folder a day; model, input and lake are beside it."""
    for day in DAYS:
        write_parquet(folder / "input" / day, image_table(pixels(day)), files=FILES)
    prices = str(ROOT / "conf" / "prices" / "example.yaml")
    parts: dict[str, Any] = {
        "name": "digits",
        "engine": {"backend": "torch", "precision": "fp32"},
        "run": {"unit_minutes": 0.001},  # each file is a unit, once the job's speed is known
        "cost": {"prices": prices, "instance": "laptop"},
    }
    job = job_of(folder, pixel_mlp(folder / "model"), **{**parts, **changes})
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(job.model_dump(mode="json", exclude_unset=True)))
    return path
