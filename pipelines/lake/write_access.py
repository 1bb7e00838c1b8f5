"""Whether a command can write its output: a file is created and removed before any work starts.

Permissions alone do not say it: a mount may be read-only, a folder immutable, a disk full.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from errno import (
    EACCES,
    EDQUOT,
    EISDIR,
    ELOOP,
    ENAMETOOLONG,
    ENOSPC,
    ENOTDIR,
    EPERM,
    EROFS,
)
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

from millrace.pipelines.lake.location import LakeLocation
from millrace.schemas.errors import MillraceError, RunFailed, UsageError

_KINDS: dict[int, type[MillraceError]] = {
    **dict.fromkeys(
        (EACCES, EPERM, EROFS, ENOTDIR, EISDIR, ENAMETOOLONG, ELOOP),
        UsageError,
    ),
    **dict.fromkeys((ENOSPC, EDQUOT), RunFailed),
}
_PREFIX = ".millrace-probe-"  # Delta and Spark ignore names that begin with a dot
_PROBE = b"probe"
_OWN = re.compile("[a-z0-9_]+")  # names of tables and of the lake's other folders


def check_lake(lake: LakeLocation) -> None:
    """Create and remove a file in the lake, in each of its folders and in each Delta log.

    Folders with other names than tables have, such as a mount's lost+found, are not probed.
    A lake that does not exist yet is probed in the nearest folder above it. Raises UsageError.
    """
    for folder in _folders(lake):
        _probe(folder, f"output.path cannot be written: {lake}", "set output.path to")


def check_file(path: Path, option: str) -> None:
    """Open the file that ``option`` names, or create and remove one in its folder. Raises UsageError."""
    what = f"{option} cannot be written: {path}"
    if path.is_dir():
        raise UsageError(what, got="a folder", allowed="the path of a file", next="add a file name")
    if path.exists():
        try:
            path.open("ab").close()
        except OSError as error:
            raise UsageError(
                what, got=error.strerror, next=f"set {option} to another file"
            ) from None
        return
    _probe(_existing(path.parent, what), what, f"set {option} to")


def explained(error: OSError) -> MillraceError | None:
    """An error of the file system as one a user can act on; None for other errors."""
    kind = _KINDS.get(error.errno or 0)
    if kind is None or not error.filename:
        return None
    return kind(
        f"the operating system refuses access to {error.filename}",
        got=error.strerror,
        next="correct the path, or repair the permissions, the mount or the disk",
    )


def _folders(lake: LakeLocation) -> Iterator[Path]:
    found = _existing(lake.root, f"output.path cannot be written: {lake}")
    yield found
    if found == lake.root:
        for folder in sorted(path for path in lake.root.iterdir() if path.is_dir()):
            if _OWN.fullmatch(folder.name) is None:
                continue
            yield folder
            if (log := folder / "_delta_log").is_dir():
                yield log


def _existing(path: Path, what: str) -> Path:
    """The folder itself, or the nearest one above it. Raises UsageError where that is no folder."""
    try:
        path.exists() or path.lstat()  # an existing path, or an error that says why not
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:  # such as a name that is too long, or a null byte
        raise UsageError(what, got=str(error), next="correct the path") from None
    at = path.absolute()
    while not os.path.lexists(at):
        at = at.parent
    if not at.is_dir():
        kind = "a broken link" if at.is_symlink() else "a file"
        raise UsageError(what, got=f"{at} is {kind}", allowed="a folder", next="correct the path")
    return path if path.is_dir() else at


def _probe(folder: Path, what: str, advice: str) -> None:
    """A folder and a file in it, as a run makes both."""
    try:
        with (
            TemporaryDirectory(prefix=_PREFIX, dir=folder) as made,
            TemporaryFile(prefix=_PREFIX, dir=made) as file,
        ):
            file.write(_PROBE)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UsageError(
            what,
            got=f"{folder}: {error.strerror or error}",
            allowed="a folder in which this user can create files",
            next=f"{advice} such a folder, or repair the permissions and the mount",
        ) from None
