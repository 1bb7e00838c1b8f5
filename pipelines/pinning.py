"""What a source holds when a run is planned: files with sizes and times, or a table's version."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError
from pyarrow import ArrowException
from pyarrow import fs as arrow_fs

from schemas.config import DeltaSource, IdxSource, Source
from schemas.errors import InputCorrupt, UsageError
from schemas.pinned import Pinned, PinnedFile
from udfs.files import locate

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")


def pin(source: Source) -> Pinned:
    """The source as it is now: absolute paths in order, or the Delta version.

    An empty folder is fine and gives no files. Of several links to one file, one is listed. For
    idx, the first file holds the images and the second, if any, the labels.

    Raises UsageError for a path that is not there, a link out of the folder, or a version that the
    table does not have.
    """
    if isinstance(source, DeltaSource):
        return _pin_delta(source)
    if isinstance(source, IdxSource):
        paths = [path for path in (source.path, source.labels) if path is not None]
        files = tuple(file for path in paths for file in _one_file(_absolute(path)))
        return Pinned(format=source.format, root=_absolute(source.path), files=files)
    root = _absolute(source.path)
    info = _info(root)
    found = _one_file(root) if info.is_file else sorted(_files(root, info.path), key=_path)
    suffixes = IMAGE_SUFFIXES if source.format == "images" else ""
    files = tuple(file for file in found if file.path.lower().endswith(suffixes))
    return Pinned(format=source.format, root=root, files=files)


def check_unchanged(pinned: Pinned) -> None:
    """Raise InputCorrupt where the input is not any more what was pinned, as far as its store tells.

    A file that is replaced in place while a run reads it gives one pass some rows, and the next others.
    """
    if pinned.format == "delta":
        try:
            is_there = str(_table(pinned.root, pinned.version).metadata().id) == pinned.table_id
        except (DeltaError, OSError):
            is_there = False
        changed = [] if is_there else [f"{pinned.root} at version {pinned.version}"]
    else:
        changed = [file.path for file in pinned.files if not _is_as_it_was(file)]
    if changed:
        raise InputCorrupt(
            f"{changed[0]}: changed while the run read it, and {len(changed) - 1} more; what was read of it"
            " is not committed",
            next="run the job again: changed input is a new run; replace no file that is being read",
        )


def _is_as_it_was(file: PinnedFile) -> bool:
    filesystem, inside = locate(file.path)
    info = filesystem.get_file_info(inside)
    return info.is_file and (info.size, info.mtime_ns or 0) == (file.size_bytes, file.modified_ns)


def name_in(pinned: Pinned, path: str) -> str:
    """A pinned file's path relative to the pinned folder; its own name when a file was pinned."""
    return (
        path.removeprefix(pinned.root.rstrip("/") + "/") if path != pinned.root else Path(path).name
    )


def _path(file: PinnedFile) -> str:
    return file.path


def _is_local(path: str) -> bool:
    return isinstance(locate(path)[0], arrow_fs.LocalFileSystem)


def _absolute(path: str) -> str:
    """Local paths absolute and without links, which could be turned later; URIs as given."""
    if not _is_local(path):
        return path.rstrip("/")
    return str(Path(locate(path)[1]).resolve())


def _info(path: str) -> Any:
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
            next="correct source.path; a relative path starts at the working directory",
        )
    return info


def _one_file(path: str) -> list[PinnedFile]:
    info = _info(path)
    if not info.is_file:
        raise UsageError(
            f"source wants one file: {path}", got="a folder", next="set the path of the file itself"
        )
    return [PinnedFile(path, info.size, info.mtime_ns or 0)]


def _files(root: str, inside_root: str) -> Iterator[PinnedFile]:
    """Every visible file below the folder."""
    filesystem, local = locate(root)[0], _is_local(root)
    seen: set[str] = set()
    folders = [inside_root]
    while folders:
        folder = folders.pop()
        listing = filesystem.get_file_info(arrow_fs.FileSelector(folder, recursive=False))
        if local:
            _check_complete(folder, {info.base_name for info in listing})
        for info in sorted(listing, key=lambda entry: str(entry.path)):
            if info.base_name.startswith(("_", ".")):
                continue
            real = _inside(root, info.path) if local else info.path
            if real in seen:
                continue
            seen.add(real)
            if info.is_file:
                rest = info.path.removeprefix(inside_root.rstrip("/") + "/")
                yield PinnedFile(f"{root.rstrip('/')}/{rest}", info.size, info.mtime_ns or 0)
            elif info.type == arrow_fs.FileType.Directory:
                folders.append(info.path)
            else:
                raise _neither(info.path)


def _check_complete(folder: str, listed: set[str]) -> None:
    """Raise UsageError for a broken link, which Arrow leaves out of its listing."""
    for entry in sorted(Path(folder).iterdir()):
        if entry.name not in listed and not entry.name.startswith(("_", ".")):
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


def _pin_delta(source: DeltaSource) -> Pinned:
    root = _absolute(source.path)
    _info(root)
    try:
        table = _table(root, source.version)
    except TableNotFoundError as error:
        raise UsageError(
            f"source.path is not a Delta table: {root}",
            got=str(error),
            next="correct source.path, or source.format if these are plain files",
        ) from None
    except (DeltaError, OSError) as error:
        raise UsageError(
            f"Delta table {root} cannot be read at version {source.version}",
            got=str(error),
            next="leave source.version out for the latest, or name one that the table has",
        ) from None
    return Pinned(source.format, root, version=table.version(), table_id=str(table.metadata().id))


def _table(root: str, version: int | None) -> DeltaTable:
    uri = root.replace("s3a://", "s3://", 1)  # Hadoop's name for the same store
    return DeltaTable(uri, version=version)
