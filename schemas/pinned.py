"""What a run reads, exactly: every pass and every resume sees these files, or this table version."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class PinnedFile:
    """One input file as it was when the run was planned."""

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

    @property
    def size_bytes(self) -> int:
        """Bytes of all pinned files together."""
        return sum(file.size_bytes for file in self.files)

    @property
    def digest(self) -> str:
        """sha256 (hex) over everything pinned; equal for equal input."""
        told = asdict(self)
        if self.table_id is None:  # so that files have the digest that they always had
            del told["table_id"]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    def summary(self) -> dict[str, str | int | None]:
        """What the runs table keeps of it: a line a run, whatever the number of files."""
        return {
            "format": self.format,
            "root": self.root,
            "version": self.version,
            "files": len(self.files),
            "bytes": self.size_bytes,
            "sha256": self.digest,
        }
