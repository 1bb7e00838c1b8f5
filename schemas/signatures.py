"""File signatures: the first bytes of each kind of file, by the formats' specifications."""

from __future__ import annotations

from typing import NamedTuple


class MagicBytes(NamedTuple):
    """Bytes at an offset of a file."""

    at: int
    bytes: bytes


class FileSignature(NamedTuple):
    """The bytes that identify a kind of file; a kind may have several signatures."""

    kind: str
    parts: tuple[MagicBytes, ...]


def _begins(kind: str, *beginnings: bytes) -> tuple[FileSignature, ...]:
    return tuple(FileSignature(kind, (MagicBytes(0, one),)) for one in beginnings)


SIGNATURES = (
    *_begins("PNG", b"\x89PNG\r\n\x1a\n"),
    *_begins("JPEG", b"\xff\xd8\xff"),
    *_begins("GIF", b"GIF87a", b"GIF89a"),
    FileSignature("WebP", (MagicBytes(0, b"RIFF"), MagicBytes(8, b"WEBP"))),
    *_begins("TIFF", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),  # and BigTIFF
    # BM alone begins many a text: the four bytes at 6 are reserved, and zero.
    FileSignature("BMP", (MagicBytes(0, b"BM"), MagicBytes(6, bytes(4)))),
    *_begins("PDF", b"%PDF-"),
    *_begins("gzip", b"\x1f\x8b\x08"),
    *_begins("zip", b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08"),  # and one that is empty, or split
    *_begins("Parquet", b"PAR1"),
)
KINDS = tuple(dict.fromkeys(one.kind for one in SIGNATURES))
LONGEST = max(part.at + len(part.bytes) for one in SIGNATURES for part in one.parts)


def kind_of(beginning: bytes) -> str | None:
    """Return the kind of a file by its first `LONGEST` bytes; None if no signature matches."""
    for one in SIGNATURES:
        if all(beginning[part.at :].startswith(part.bytes) for part in one.parts):
            return one.kind
    return None
