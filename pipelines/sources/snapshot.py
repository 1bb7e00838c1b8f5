"""What a source holds when a run is planned: files with sizes and times, or a table's version."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from millrace.pipelines.sources.ignored_files import IgnoredFiles, pictures
from millrace.pipelines.sources.source_files import (
    absolute,
    check_read_by_spark,
    files_of,
    info_of,
    one_file,
)
from millrace.schemas.errors import InputCorrupt, UsageError
from millrace.schemas.pinned import Pinned, PinnedFile
from millrace.schemas.sources import DeltaSource, IdxSource, Source
from millrace.udfs.readers.files import InputFile, locate


def pin(source: Source) -> Pinned:
    """The source as it is now: absolute paths in order, or the Delta version.

    An empty folder is fine and gives no files. Of several links to one file, one is listed. For
    idx, the first file holds the images and the second, if any, the labels. Files of the folder that
    are not read are in ``ignored``, by the rule that leaves them out.

    Raises UsageError for a path that is not there, a link out of the folder, a version that the
    table does not have, a Delta table that is to be read as plain files, or a file that Spark would
    pass over.
    """
    if isinstance(source, DeltaSource):
        return _pin_delta(source)
    if isinstance(source, IdxSource):
        paths = [path for path in (source.path, source.labels) if path is not None]
        files = tuple(file for path in paths for file in one_file(absolute(path)))
        return Pinned(format=source.format, root=absolute(source.path), files=files)
    root = absolute(source.path)
    info = info_of(root)
    if info.is_file:
        check_read_by_spark(root, source)
        return Pinned(format=source.format, root=root, files=tuple(one_file(root)))
    skipped = IgnoredFiles()
    found = sorted(files_of(root, info.path, skipped), key=_path)
    pinned = Pinned(format=source.format, root=root)
    if source.format == "images":
        found = pictures(found, lambda file: name_in(pinned, file.path), skipped)
    return replace(pinned, files=tuple(found), ignored=skipped.ignored())


def check_unchanged(pinned: Pinned) -> None:
    """Raise InputCorrupt where the input differs from the pinned one, as far as its store shows.

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


def input_files(pinned: Pinned) -> list[InputFile]:
    """The pinned files as readers open them."""
    return [InputFile(f.path, name_in(pinned, f.path), f.size_bytes) for f in pinned.files]


def _path(file: PinnedFile) -> str:
    return file.path


def _pin_delta(source: DeltaSource) -> Pinned:
    root = absolute(source.path)
    info_of(root)
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
    sizes = table.get_add_actions(flatten=True).column("size_bytes").to_pylist()
    return Pinned(
        source.format,
        root,
        version=table.version(),
        table_id=str(table.metadata().id),
        table_files=len(sizes),
        table_bytes=sum(sizes),
    )


def _table(root: str, version: int | None) -> DeltaTable:
    uri = root.replace("s3a://", "s3://", 1)  # Hadoop's name for the same store
    return DeltaTable(uri, version=version)
