"""The files of a source: which are read, by which rule others are left out, and which are refused."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pyarrow import ArrowException
from pyarrow import fs as arrow_fs

from millrace.pipelines.sources.ignored_files import (
    HIDDEN,
    REPEATED,
    IgnoredFiles,
    files_below,
    rule_for,
)
from millrace.schemas.errors import UsageError
from millrace.schemas.pinned import PinnedFile
from millrace.schemas.sources import Source
from millrace.udfs.readers.files import locate

_READ_BY_SPARK = ("parquet", "images")
_DELTA_LOG = "_delta_log"


def _is_local(path: str) -> bool:
    return isinstance(locate(path)[0], arrow_fs.LocalFileSystem)


def absolute(path: str) -> str:
    """Local paths absolute and without links, which could be turned later; URIs as given."""
    if not _is_local(path):
        return path.rstrip("/")
    return str(Path(locate(path)[1]).resolve())


def info_of(path: str) -> Any:
    """What the file system says of a path. Raises UsageError where nothing is there."""
    try:
        filesystem, inside = locate(path)
        info = filesystem.get_file_info(inside)
    except (OSError, ArrowException) as error:
        raise UsageError(
            f"source.path cannot be opened: {path}",
            got=str(error),
            next="check path and credentials",
        ) from None
    if info.type == arrow_fs.FileType.NotFound:
        raise UsageError(
            f"source.path does not exist: {path}",
            got="no such file or folder",
            next="correct source.path; a relative path starts at the folder of the job file",
        )
    return info


def one_file(path: str) -> list[PinnedFile]:
    """The file as it is now. Raises UsageError for a folder."""
    info = info_of(path)
    if not info.is_file:
        raise UsageError(
            f"source wants one file: {path}", got="a folder", next="set the path of the file itself"
        )
    return [PinnedFile(path, info.size, info.mtime_ns or 0)]


def check_read_by_spark(root: str, source: Source) -> None:
    """Raise UsageError for a file that Spark passes over because of its name."""
    if source.format in _READ_BY_SPARK and (rule := rule_for(Path(root).name)):
        raise UsageError(
            f"source.path names a file that Spark does not read: {root}",
            got=rule,
            allowed="any other name",
            next="rename the file, or name its folder if its other files are the input",
        )


def _check_not_delta(folder: str, names: Iterable[str]) -> None:
    """Raise UsageError for a Delta table's folder: it holds files with rows that are deleted."""
    if _DELTA_LOG in names:
        raise UsageError(
            f"{folder} is a Delta table, and source.format says that it holds plain files",
            got="its files, which may hold rows that the table has deleted",
            allowed="source.format delta, and source.path the table's own folder",
            next="set source.format to delta",
        )


def files_of(root: str, inside_root: str, skipped: IgnoredFiles) -> Iterator[PinnedFile]:
    """Every file below the folder that no rule leaves out; the others go to ``skipped``."""
    filesystem, local = locate(root)[0], _is_local(root)
    seen: set[str] = set()
    folders = [inside_root]

    def below(path: str) -> str:
        return path.removeprefix(inside_root.rstrip("/") + "/")

    while folders:
        folder = folders.pop()
        listing = filesystem.get_file_info(arrow_fs.FileSelector(folder, recursive=False))
        _check_not_delta(folder, (info.base_name for info in listing))
        if local:
            _check_complete(folder, {info.base_name for info in listing})
        for info in sorted(listing, key=lambda entry: str(entry.path)):
            is_folder = info.type == arrow_fs.FileType.Directory
            if rule := _rule(info.base_name, is_folder=is_folder):
                names = files_below(filesystem, info.path) if is_folder else [info.path]
                skipped.add(rule, map(below, names))
                continue
            real = _inside(root, info.path) if local else info.path
            if real in seen:
                skipped.add(REPEATED, [below(info.path)])
                continue
            seen.add(real)
            if info.is_file:
                path = f"{root.rstrip('/')}/{below(info.path)}"
                yield PinnedFile(path, info.size, info.mtime_ns or 0)
            elif is_folder:
                folders.append(info.path)
            else:
                raise _neither(info.path)


def _rule(name: str, *, is_folder: bool) -> str | None:
    """The rule that leaves out a file or folder; of folders only hidden ones are left out."""
    rule = rule_for(name)
    return None if is_folder and rule != HIDDEN else rule


def _check_complete(folder: str, listed: set[str]) -> None:
    """Raise UsageError for a broken link, which Arrow leaves out of its listing."""
    for entry in sorted(Path(folder).iterdir()):
        if entry.name not in listed and rule_for(entry.name) is None:
            raise _neither(str(entry))


def _neither(path: str) -> UsageError:
    return UsageError(
        f"neither a file nor a folder: {path}",
        got="a broken link, a pipe or a device",
        next="remove it from source.path",
    )


def _inside(root: str, path: str) -> str:
    """Where a local path really is. Raises UsageError when that is outside of the folder."""
    real = os.path.realpath(path)
    if not Path(real).is_relative_to(root):
        raise UsageError(
            f"a link leads out of source.path: {path}",
            got=f"it points to {real}",
            allowed=f"files below {root}",
            next="copy the file into the folder, or remove the link",
        )
    return real
