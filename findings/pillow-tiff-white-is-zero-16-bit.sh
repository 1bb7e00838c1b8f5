#!/usr/bin/env bash
# What: Pillow inverts a grey TIFF whose zero is white at 8 bits, and does not invert it at 16 bits.
# Where: a TIFF with PhotometricInterpretation 0 (WhiteIsZero), as scanners and microscopes write.
# Versions: Pillow 13.0.0.
# Why it matters: a model reads the negative of the picture, without an error. The mode names no inversion either.
# Instead: read tag 262. Subtract the values from 65535 where it is 0.
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

import numpy as np
import PIL
from PIL import Image


def tiff(bits, photometric):
    """One grey pixel with the stored value 0."""
    tags = {256: 1, 257: 1, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: 1, 279: bits // 8}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<I", 10) + b"\0\0" + struct.pack("<H", len(tags)) + entries + b"\0" * 4


def pixel(bits, photometric):
    with Image.open(io.BytesIO(tiff(bits, photometric))) as file:
        return int(np.asarray(file)[0, 0])


seen = {(bits, zero): pixel(bits, zero) for bits in (8, 16) for zero in (0, 1)}
print("pillow", PIL.__version__)
print("expected, where zero is white: 255 at 8 bits, 65535 at 16 bits")
print("seen, where zero is white:", seen[8, 0], "at 8 bits,", seen[16, 0], "at 16 bits")
checks = [
    ("zero is no longer white at 8 bits", seen[8, 0] == 255),
    ("zero is white at 16 bits, too", seen[16, 0] == 0),
    ("zero is not black where the file says black", seen[8, 1] == 0 and seen[16, 1] == 0),
]
changes = [text for text, holds in checks if not holds]
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
