"""What dags.yaml says: which job runs when, on which input, and how patient Airflow is with it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from datetime import date
from pathlib import Path
from typing import Any

import yaml

CLUSTERS = ("yarn", "kubernetes")


@dataclass(frozen=True)
class Scheduled:
    """One entry of dags.yaml. Relative paths start at Millrace's home."""

    job: str  # a job file
    start: date  # no run is of an earlier day
    end: date | None = None  # none of a later day
    schedule: str | None = "@daily"
    set: dict[str, str] = field(default_factory=dict)  # keys of the job file, as templates
    folder: str = "."  # the working directory: where relative paths in `set` start
    validate: bool = True  # as a step of its own, before any money is spent
    catchup: bool = False  # make up for the days since `start` without being asked
    max_active_runs: int = 1
    pool: str = "default_pool"  # what scores takes a slot of it
    spark: str = "spark_default"  # the connection that names the master
    properties: str = "conf/spark/local.conf"
    cluster: str | None = (
        None  # yarn or kubernetes: the driver runs there; None: where Airflow runs
    )
    retries: int = 5
    retry_delay_s: int = 60  # doubled each time, ten minutes at most
    claim_delay_s: int = 120  # where another driver is at work on the same run

    def __post_init__(self) -> None:
        if self.cluster is not None and self.cluster not in CLUSTERS:
            raise ValueError(
                f"cluster of {self.job}: got {self.cluster}, allowed: {', '.join(CLUSTERS)}, or none"
            )


@dataclass(frozen=True)
class Home:
    """Where Millrace is: a checkout with its environment in .venv."""

    folder: Path

    @classmethod
    def here(cls) -> Home:
        """The folder that MILLRACE_HOME names. Raises ValueError where there is no Millrace."""
        folder = os.environ.get("MILLRACE_HOME", "")
        home = cls(Path(folder).absolute())
        if not folder or not home.program("millrace").is_file():
            raise ValueError(
                f"MILLRACE_HOME: got {folder or 'nothing'}, allowed: a checkout after `make setup`"
            )
        return home

    def program(self, name: str) -> Path:
        """A program of Millrace's own environment."""
        return self.folder / ".venv" / "bin" / name

    def path(self, text: str) -> str:
        """A path that may start at the home."""
        return str(self.folder / text)

    @property
    def environment(self) -> dict[str, str]:
        """What its programs find: each other, their Python, and the code of the checkout."""
        python = str(self.program("python"))
        return {
            "PATH": f"{self.program('python').parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "PYTHONPATH": str(self.folder),
            "PYSPARK_PYTHON": python,
            "PYSPARK_DRIVER_PYTHON": python,
        }


def scheduled(path: Path) -> list[Scheduled]:
    """The entries of the file. Raises ValueError for a key that is none."""
    known = {one.name for one in fields(Scheduled)}
    entries = yaml.safe_load(path.read_text("utf-8"))
    for entry in entries:
        if unknown := sorted(set(entry) - known):
            raise ValueError(
                f"{path}: got {', '.join(unknown)}, allowed: {', '.join(sorted(known))}"
            )
    return [Scheduled(**entry | _dates(entry)) for entry in entries]


def _dates(entry: dict[str, Any]) -> dict[str, date]:
    """Its dates, which may be written in quotes. Raises ValueError for what is none."""
    dates = {name: entry[name] for name in ("start", "end") if entry.get(name) is not None}
    return {name: date.fromisoformat(str(day)) for name, day in dates.items()}


def job_of(home: Home, entry: Scheduled) -> dict[str, Any]:
    """The job file as it is written; Millrace itself checks it, in the first step of each run."""
    job: dict[str, Any] = yaml.safe_load(Path(home.path(entry.job)).read_text("utf-8"))
    return job
