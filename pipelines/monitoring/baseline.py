"""Baselines: the run that a job's later runs are compared with; the last row that a user set applies."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from millrace.pipelines.lake import delta, runs
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.profiling import profiles
from millrace.pipelines.profiling.profiles import INPUT, OUTPUT, Profiles
from millrace.schemas.errors import UsageError
from millrace.schemas.tables import BASELINES


@dataclass(frozen=True)
class Baseline:
    """A run, and what its input and its outputs were."""

    run_id: str
    input: Profiles
    outputs: Profiles  # of all of its units together

    def side(self, name: str) -> Profiles:
        """The profiles of the side input or output."""
        return {INPUT: self.input, OUTPUT: self.outputs}[name]


def of_job(lake: LakeLocation, job: str) -> Baseline | None:
    """The job's baseline; None where none was set."""
    pinned = pins(lake, job)[-1:]
    return of_run(lake, pinned[0]["run_id"]) if pinned else None


def of_run(lake: LakeLocation, run_id: str) -> Baseline:
    """A run as a baseline. Raises UsageError where it has no profiles."""
    found = profiles.of_input(lake, run_id)
    units = profiles.of_units(lake, run_id)
    if not found and not units:
        raise UsageError(
            f"run {run_id} has no profiles",
            got="a run of a job without a section monitor, or one that ended before it was validated",
            next="add `monitor: {}` to the job file and run it with --fresh",
        )
    return Baseline(run_id, found, profiles.over_units(units))


def pins(lake: LakeLocation, job: str | None = None) -> list[dict[str, Any]]:
    """What was set, in its order; of one job, or of all."""
    found = delta.values(lake, BASELINES, [] if job is None else [("job", "=", job)])
    return sorted(found, key=lambda pin: (pin["job"], pin["number"], pin["at"]))


def set_(lake: LakeLocation, run_id: str, at: datetime) -> dict[str, Any]:
    """Compare later runs of the run's job with it. Raises UsageError unless it is done and was measured."""
    events = runs.events(lake, run_id)
    if not events:
        raise UsageError(f"no run {run_id} in {lake}", next=f"millrace runs --lake {lake}")
    if events[-1]["state"] != runs.DONE:
        raise UsageError(
            "a baseline is a run that is done",
            got=f"{run_id} is {events[-1]['state']}",
            next="run its job again to finish it, or name another run",
        )
    of_run(lake, run_id)
    job = events[-1]["job"]
    number = max((pin["number"] for pin in pins(lake, job)), default=0) + 1
    pin = {"job": job, "number": number, "run_id": run_id, "at": at}
    delta.append_values([pin], lake, BASELINES, f"millrace:baseline:{job}:{number}:{run_id}")
    return pin
