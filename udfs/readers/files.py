"""Input files in a worker: in any store that Arrow supports; errors name the file."""

from __future__ import annotations

import codecs
import io
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote

from pyarrow import ArrowException
from pyarrow import fs as arrow_fs

from millrace.schemas.errors import InputCorrupt, UsageError

LONGEST_RECORD = (
    64 * 1024 * 1024
)  # characters; what is longer is malformed, so memory stays bounded
_BUFFER_BYTES = 1024 * 1024
_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/]*)(.*)", re.DOTALL)
_ESCAPED_BYTES = re.compile("[\udc80-\udcff]")
# A decoder of fixed-width units cannot go on after a bad one: it may have lost its step.
_NO_RESYNC = ("utf-16", "utf-32", "utf-7")


@dataclass(frozen=True)
class InputFile:
    """A file to parse: its path, its name in messages, and its size when it was pinned."""

    path: str  # absolute, or a URI
    name: str
    size_bytes: int


class TextLine(NamedTuple):
    """A physical line with its line break; ``cut`` if it is longer than the longest record."""

    number: int  # from 1
    text: str
    cut: bool


def locate(path: str) -> tuple[Any, str]:
    """Return the Arrow file system of a path or URI, and the path inside it.

    URIs are read as Hadoop reads them: the path is plain text, not percent-encoded.
    """
    match = _URI.fullmatch(path)
    if match is None:
        return arrow_fs.LocalFileSystem(), path
    scheme, host, rest = match.groups()
    if scheme == "file":
        return arrow_fs.LocalFileSystem(), rest
    known = {"s3a": "s3", "s3n": "s3"}.get(scheme, scheme)  # Hadoop's names for the same store
    filesystem, inside = arrow_fs.FileSystem.from_uri(f"{known}://{host}{quote(rest)}")
    return filesystem, inside


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Turn read errors inside into InputCorrupt with the file's name."""
    try:
        yield
    except UnicodeError as error:
        raise InputCorrupt(
            f"{name}: not text in the encoding that the job file declares",
            got=str(error),
            next="set source.encoding to the encoding that the file was written in",
        ) from None
    except (OSError, EOFError, zlib.error, ArrowException) as error:
        raise InputCorrupt(
            f"{name}: cannot be read",
            got=f"{type(error).__name__}: {error}",
            next="restore the file from its origin, or remove it from source.path",
        ) from None


@contextmanager
def opened(file: InputFile, *, compression: str | None = None) -> Iterator[Any]:
    """Open the file as a binary stream; ``compression="detect"`` goes by its suffix (.gz, .bz2, .zst).

    Raises InputCorrupt if the file is gone, or its size is not the pinned one.
    """
    with naming(file.name):
        filesystem, inside = locate(file.path)
        size = filesystem.get_file_info(inside).size
        if size != file.size_bytes:
            raise InputCorrupt(
                f"{file.name}: changed since the run was planned",
                got="no such file" if size is None else f"{size} bytes",
                allowed=f"{file.size_bytes} bytes",
                next="run the job again: it will plan with the files as they are now",
            )
        with filesystem.open_input_stream(inside, compression=compression) as stream:
            yield io.BufferedReader(stream, _BUFFER_BYTES)


def text_lines(file: InputFile, encoding: str) -> Iterator[TextLine]:
    r"""Physical lines (``\n``, ``\r\n`` or ``\r``) from line 1, without a byte order mark.

    Bytes that the encoding does not know stay in the text as lone surrogates (see `bad_bytes`).
    Raises InputCorrupt where the codec cannot go on after them, UsageError for an unknown encoding.
    """
    strict = _codec(encoding).startswith(_NO_RESYNC)
    with opened(file, compression="detect") as stream:
        errors = "strict" if strict else "surrogateescape"
        text = io.TextIOWrapper(stream, encoding, errors=errors, newline="")
        number = 0
        while line := text.readline(LONGEST_RECORD):
            number += 1
            cut = len(line) == LONGEST_RECORD and not line.endswith(("\n", "\r"))
            content = line.removeprefix("\ufeff") if number == 1 else line
            if cut:
                _skip_line(text)
            yield TextLine(number, content, cut)


def _codec(encoding: str) -> str:
    try:
        return codecs.lookup(encoding).name
    except LookupError:
        raise UsageError(
            f"source.encoding is not known: {encoding}",
            allowed="the names of Python's text codecs, such as utf-8, latin-1, cp1252, utf-16",
            next="correct source.encoding in the job file",
        ) from None


def _skip_line(text: io.TextIOWrapper) -> None:
    while piece := text.readline(LONGEST_RECORD):
        if piece.endswith(("\n", "\r")):
            return


def bad_bytes(text: str) -> bool:
    """Whether the text has bytes that were not valid in its encoding."""
    return not text.isascii() and _ESCAPED_BYTES.search(text) is not None


def shown(text: str) -> str:
    r"""The first 200 characters, valid Unicode whatever the bytes were (``\xff`` for a bad one)."""
    head = text[:200].rstrip("\r\n")
    readable = _ESCAPED_BYTES.sub(lambda match: f"\\x{ord(match[0]) - 0xDC00:02x}", head)
    return readable.encode("utf-8", "backslashreplace").decode()
