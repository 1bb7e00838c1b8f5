"""Loads a job file: its relative paths start at the file's folder."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from millrace.schemas.config import Job
from millrace.schemas.errors import JobFileError
from millrace.schemas.yaml_errors import OVERRIDDEN, KeyPath, dotted
from millrace.schemas.yaml_file import Document, Overrides, parsed

_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
_TABLE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*){1,2}")  # schema.table, catalog.schema.table
_WORD = re.compile(r"[\w-]+")
_LAKE = ("output", "path")
_PRICES = ("cost", "prices")
_LINEAGE = ("observe", "openlineage")
_SOURCE = (("source", "path"), ("source", "labels"))


def load_job(path: Path, overrides: Overrides = (), env: Mapping[str, str] | None = None) -> Job:
    """Load the job at ``path``, after overrides.

    A relative path in the file starts at the file's folder; one in an override starts at the working
    directory, as every path on a command line. Raises JobFileError.
    """
    document = parsed(path, overrides, env)
    job = document.validated(Job)
    for place, value in _paths(job):
        job = _with(job, place, _Found(document, job, place, value).resolved())
    return job


def _paths(job: Job) -> Iterator[tuple[KeyPath, str]]:
    """Every value of a job that is a path, with its place."""
    places: list[KeyPath] = [
        *_SOURCE,
        ("model", "uri"),
        _LAKE,
        _PRICES,
        ("observe", "metrics"),
        _LINEAGE,
    ]
    places += [("contract", "columns", name, "references", "path") for name in job.contract.columns]
    for place in places:
        if isinstance(value := _at(job, place), str):
            yield place, value


def _at(value: Any, place: KeyPath) -> Any:
    for part in place:
        value = value.get(part) if isinstance(value, dict) else getattr(value, str(part), None)
    return value


def _with(value: Any, place: KeyPath, new: str) -> Any:
    """A copy of a frozen value with another text at the place."""
    if not place:
        return new
    part, *rest = place
    if isinstance(value, dict):
        return {**value, part: _with(value[part], tuple(rest), new)}
    model: BaseModel = value
    return model.model_copy(update={str(part): _with(getattr(model, str(part)), tuple(rest), new)})


@dataclass(frozen=True)
class _Found:
    """A path in a job file."""

    document: Document
    job: Job
    place: KeyPath
    value: str

    def resolved(self) -> str:
        """The path, absolute unless an override gave it. Raises JobFileError."""
        if scheme := _URI.match(self.value):
            return self._uri(scheme[1].lower())
        starts_here = self._is_overridden or self.job.paths == "cwd"
        folder = Path.cwd() if starts_here else self.document.path.parent.absolute()
        if Path(self.value).is_absolute():
            return self.value
        if self.place == _LAKE:
            self._refuse_table(folder)
        path = _joined(folder, self.value)
        if self.place == _PRICES and _WORD.fullmatch(self.value) and not Path(path).is_file():
            return self.value  # a shipped book's name
        if starts_here:
            return self.value
        if "paths" not in self.job.model_fields_set:
            self._refuse_moved(path)
        return path

    @property
    def _line(self) -> str:
        return self.document.lines.get(self.place, str(self.document.path))

    @property
    def _is_overridden(self) -> bool:
        return self._line.startswith(OVERRIDDEN)

    def _uri(self, scheme: str) -> str:
        if self.place == _LINEAGE or (scheme == "file" and self.place in _SOURCE):
            return self.value
        raise JobFileError(
            f"{self._line}: {dotted(self.place)} cannot be at a URI yet",
            got=self.value,
            allowed="a local path, or one on a mounted file system",
            next="write the plain path"
            if scheme == "file"
            else "mount or copy it, and name the local path",
        )

    def _refuse_table(self, folder: Path) -> None:
        """Raise JobFileError for what looks like a table of a catalog and is no folder."""
        if _TABLE.fullmatch(self.value) and not (folder / self.value).is_dir():
            raise JobFileError(
                f"{self._line}: output.path looks like a table of a catalog; tables are written to a folder",
                got=self.value,
                allowed="the path of a folder",
                next=f"write ./{self.value} for a folder of that name",
            )

    def _refuse_moved(self, path: str) -> None:
        """Raise JobFileError where only the path from the working directory, its old meaning, exists."""
        is_there: Callable[[Path], bool] = Path.exists
        if self.place == _LAKE:  # a folder alone may be there for other reasons
            is_there = _is_lake
        old = Path.cwd() / self.value
        if is_there(old) and not is_there(Path(path)) and self.place != ("observe", "metrics"):
            raise JobFileError(
                f"{self._line}: {dotted(self.place)} starts at the job file's folder, and nothing is there",
                got=f"no {path}; but {old}, from the working directory, exists",
                next="write it relative to the job file; paths: cwd keeps the old meaning for one version",
            )


def _joined(folder: Path, value: str) -> str:
    """The path, without `..` where that is the same file for the kernel, too."""
    plain = os.path.normpath(folder / value)
    return (
        plain
        if os.path.realpath(plain) == os.path.realpath(folder / value)
        else str(folder / value)
    )


def _is_lake(folder: Path) -> bool:
    return (folder / "runs" / "_delta_log").is_dir()
