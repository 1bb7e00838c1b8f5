"""Which files of a source's folder are not read, each by a rule that the run states with its counts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from pyarrow import fs as arrow_fs

from millrace.schemas.pinned import Ignored, PinnedFile
from millrace.udfs.readers.files import locate, naming
from millrace.udfs.runtime.picture_formats import SIGNATURE_BYTES, SUFFIXES, is_readable

HIDDEN = "hidden: the name begins with _ or ."
UNFINISHED = "unfinished: the name ends with ._COPYING_"
REPEATED = "repeated: a link to a file or folder that is read already"
NO_PICTURE = "no picture: neither the name nor the first bytes are those of one"
_NAMES = 5  # shown of each rule
_THREADS = 16


def rule_for(name: str) -> str | None:
    """Return the rule that ignores a file or folder of this name; None where it is read.

    Spark has the same rules. It silently applies them to files that it is given by name as well.
    """
    if name.startswith(".") or (name.startswith("_") and "=" not in name):
        return HIDDEN
    return UNFINISHED if name.endswith("._COPYING_") else None


class IgnoredFiles:
    """Files that are not read, collected rule by rule while a folder is listed."""

    def __init__(self) -> None:
        self._names: dict[str, list[str]] = {}

    def add(self, rule: str, names: Iterable[str]) -> None:
        """Count files, given by their names below the folder."""
        self._names.setdefault(rule, []).extend(names)

    def ignored(self) -> tuple[Ignored, ...]:
        """Return the rules that apply to a file, with counts and the first names in order."""
        return tuple(
            Ignored(rule, len(names), tuple(sorted(names)[:_NAMES]))
            for rule, names in sorted(self._names.items())
            if names
        )


def files_below(filesystem: Any, folder: str) -> Iterator[str]:
    """Yield the path of every file below a folder that is not read; links are not followed."""
    if isinstance(filesystem, arrow_fs.LocalFileSystem):
        if Path(folder).is_symlink():
            yield folder
            return
        for parent, _, names in os.walk(folder):
            yield from (f"{parent}/{name}" for name in names)
        return
    for info in filesystem.get_file_info(arrow_fs.FileSelector(folder, recursive=True)):
        if info.is_file:
            yield info.path


def pictures(
    files: list[PinnedFile], name_of: Callable[[PinnedFile], str], skipped: IgnoredFiles
) -> list[PinnedFile]:
    """Return the files that are pictures by their names, or else by their first bytes."""
    unknown = [file for file in files if not _is_named_so(file)]
    with ThreadPoolExecutor(_THREADS) as pool:
        looked = pool.map(lambda file: _begins_so(file, name_of(file)), unknown)
        others = {file for file, found in zip(unknown, looked, strict=True) if not found}
    skipped.add(NO_PICTURE, map(name_of, others))
    return [file for file in files if file not in others]


def _is_named_so(file: PinnedFile) -> bool:
    return PurePosixPath(file.path).suffix.lower() in SUFFIXES


def _begins_so(file: PinnedFile, name: str) -> bool:
    with naming(name):
        filesystem, inside = locate(file.path)
        with filesystem.open_input_stream(inside, compression=None) as stream:
            return is_readable(stream.read(SIGNATURE_BYTES))
