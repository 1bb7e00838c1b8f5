"""Files that come out the same every time; what is up to date is left alone, times included."""

from __future__ import annotations

import hashlib
import io
import os
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from millrace.schemas.errors import UsageError

_YEAR_2000_MS = 946_684_800_000
_TWENTY_YEARS_MS = 631_152_000_000


def write_same(path: Path, content: bytes) -> bool:
    """Put ``content`` at ``path``, in one step; False where it is there already.

    A run's fingerprint holds its input files' sizes and times. The time given here comes from the
    content, so that a file made anew is the same input, and a file made otherwise is another.
    """
    if path.is_file() and path.read_bytes() == content:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(content)
    number = int.from_bytes(hashlib.sha256(content).digest()[:8], "big")
    time_ns = (_YEAR_2000_MS + number % _TWENTY_YEARS_MS) * 1_000_000
    os.utime(part, ns=(time_ns, time_ns))
    part.replace(path)
    return True


def write_parts(folder: Path, table: pa.Table, parts: int) -> list[Path]:
    """Write the table as ``part-0.parquet`` and so on: ``parts`` files of nearly equal rows."""
    names = [f"part-{number}.parquet" for number in range(parts)]
    only(folder, names)
    starts = [table.num_rows * number // parts for number in range(parts + 1)]
    for name, start, end in zip(names, starts, starts[1:], strict=False):
        sink = io.BytesIO()
        pq.write_table(table.slice(start, end - start), sink)
        write_same(folder / name, sink.getvalue())
    return [folder / name for name in names]


def only(folder: Path, names: list[str]) -> None:
    """Raise UsageError where ``folder`` holds anything besides ``names``: not ours to clear."""
    present = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    if other := sorted(name for name in present - set(names) if not name.endswith(".part")):
        raise UsageError(
            f"{folder} holds files that this example did not write",
            got=", ".join(other[:5]),
            allowed=", ".join(names),
            next="choose another --out, or move them away",
        )


def say(text: str) -> None:
    """One line for people, on standard error: standard output is for what a caller may read."""
    print(text, file=sys.stderr, flush=True)
