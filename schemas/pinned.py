"""The pinned input of a run: every pass and every resume reads these files, or this table version."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Ignored:
    """Files in a source's folder that a rule excludes."""

    rule: str
    files: int
    first: tuple[str, ...]  # names below the folder, a few


@dataclass(frozen=True)
class PinnedFile:
    """An input file as it was when the run was planned."""

    path: str  # absolute, or a URI
    size_bytes: int
    modified_ns: int


@dataclass(frozen=True)
class Pinned:
    """The input of one run: files with sizes and times, or one version of a Delta table."""

    format: str
    root: str
    files: tuple[PinnedFile, ...] = ()
    version: int | None = None
    table_id: str | None = (
        None  # of the Delta table: one that was made anew begins with version 0, too
    )
    ignored: tuple[Ignored, ...] = ()  # no part of the input: the digest leaves them out
    table_files: int = 0  # of a Delta table at that version, as its log says; not listed in `files`
    table_bytes: int = 0

    @property
    def size_bytes(self) -> int:
        """Return the bytes of all pinned files."""
        return sum(file.size_bytes for file in self.files)

    @property
    def empty_files(self) -> int:
        """Return the number of pinned files with 0 bytes."""
        return sum(not file.size_bytes for file in self.files)

    @property
    def digest(self) -> str:
        """Return the sha256 (hex) of everything pinned; equal for equal input."""
        content = asdict(self)
        del content["ignored"]
        if self.table_id is None:  # so that files have the digest that they always had
            del content["table_id"]
        del content["table_files"], content["table_bytes"]  # they follow from the version
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def summary(self) -> dict[str, Any]:
        """Return what the runs table stores of it: of constant size, whatever the number of files."""
        return {
            "format": self.format,
            "root": self.root,
            "version": self.version,
            "files": len(self.files) + self.table_files,
            "bytes": self.size_bytes + self.table_bytes,
            "sha256": self.digest,
            "empty_files": self.empty_files,
            "ignored_files": sum(one.files for one in self.ignored),
            "ignored": [asdict(one) | {"first": list(one.first)} for one in self.ignored],
        }
