#!/usr/bin/env bash
# What: Pillow applies the transparent colour of a PNG (chunk tRNS) at some bit depths, and ignores it at others.
# Where: convert("RGBA") of grey at 2 and 4 bits and of RGB at 16 bits. Samples are widened or cut to 8 bits, the key is not.
# Versions: Pillow 13.0.0.
# Why it matters: a transparent background becomes a solid colour. Two files that look alike in a browser give other pixels.
# Instead: scale the key like the samples before the comparison, or refuse these depths.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --no-compile pillow==13.0.0 numpy==2.4.6

cat > finding.py <<'PY'
import io
import struct
import sys
import zlib

import PIL
from PIL import Image

GREY, RGB = 0, 2


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(bits, colour, sample, key):
    """One pixel whose colour is the transparent one."""
    header = struct.pack(">IIBBBBB", 1, 1, bits, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"tRNS", key), (b"IDAT", zlib.compress(b"\0" + sample)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in chunks)


def alpha(*picture):
    with Image.open(io.BytesIO(png(*picture))) as file:
        return file.convert("RGBA").getpixel((0, 0))[3]


seen = {
    "grey, 1 bit": alpha(1, GREY, b"\x80", b"\0\1"),
    "grey, 2 bits": alpha(2, GREY, b"\x40", b"\0\1"),
    "grey, 4 bits": alpha(4, GREY, b"\x10", b"\0\1"),
    "grey, 8 bits": alpha(8, GREY, b"\1", b"\0\1"),
    "RGB, 8 bits": alpha(8, RGB, b"\x12" * 3, b"\0\x12" * 3),
    "RGB, 16 bits": alpha(16, RGB, b"\x12\x34" * 3, b"\x12\x34" * 3),
}
opaque = {"grey, 2 bits", "grey, 4 bits", "RGB, 16 bits"}
print("pillow", PIL.__version__)
print("expected: alpha 0 for each, because the pixel has the transparent colour")
print("seen:", seen)
changes = [
    f"{name} has alpha {value}"
    for name, value in seen.items()
    if value != (255 if name in opaque else 0)
]
for text in changes:
    print("CHANGED:", text)
sys.exit(1 if changes else 0)
PY

status=0
venv/bin/python finding.py 2> log || status=$?
if [ "$status" -ne 0 ]; then
    tail -n 5 log >&2
    echo "$(basename "$0"): the behaviour differs from the description" >&2
    exit 1
fi
