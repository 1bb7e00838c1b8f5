"""The job that a call is about: a value or a file, changed by overrides."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_jsonable_python

from millrace.pipelines.api.overrides import merged
from millrace.schemas.config import Job
from millrace.schemas.errors import JobFileError
from millrace.schemas.job_file import load_job as load_file

JobOrFile = Job | str | Path


def load_job(path: str | Path, **overrides: Any) -> Job:
    """Return the job of a YAML file.

    Args:
        path: the job file; its relative paths start at its folder.
        overrides: values in place of the file's, by key; a mapping changes only the keys that it has:
            ``source={"path": "input/2026-11-29"}``. Relative paths in them start at the working directory.

    Raises:
        UsageError: no such file, or JobFileError, which names the line.
    """
    return load_file(Path(path), to_jsonable_python(overrides))  # paths and decimals as texts


def job_of(job: JobOrFile, overrides: Mapping[str, Any]) -> Job:
    """Return the job of a call, with its overrides. Raises UsageError."""
    if not isinstance(job, Job):
        return load_job(job, **overrides)
    if not overrides:
        return job
    tree = job.model_dump(by_alias=True, exclude_unset=True)
    try:
        return Job.model_validate(merged(tree, overrides))
    except ValidationError as error:
        found = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        raise JobFileError(
            "the job is not valid with these overrides", got="; ".join(found)
        ) from None
