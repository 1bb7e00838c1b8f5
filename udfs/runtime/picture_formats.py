"""Picture formats that are read, and file names of pictures."""

from __future__ import annotations

from millrace.schemas import signatures

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")  # as Pillow calls them
READ_SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".tif", ".tiff", ".bmp", ".gif",
)  # fmt: skip
# Nothing here reads these. They are rows all the same, which fail with a reason: no picture is passed over.
UNREAD_SUFFIXES = (".heic", ".heif", ".avif", ".jxl", ".jp2")
SUFFIXES = (*READ_SUFFIXES, *UNREAD_SUFFIXES)
SIGNATURE_BYTES = signatures.LONGEST  # as many as `is_readable` looks at


def is_readable(beginning: bytes) -> bool:
    """Whether a file's first bytes are those of a format that is read."""
    return (signatures.kind_of(beginning) or "").upper() in FORMATS
