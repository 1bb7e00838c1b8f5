"""Memory that a client and its host share without copies."""

from __future__ import annotations

import fcntl
import mmap
import os

import pyarrow as pa

from millrace.schemas.errors import RunFailed

_SMALLEST_BYTES = 1 << 16


class Area:
    """A growing area of anonymous memory, known by its file descriptor alone.

    It has no name that others could open, and is gone when both processes are.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._map: mmap.mmap | None = None

    @classmethod
    def made(cls) -> Area:
        """Create an area. It never shrinks, so that no reader loses pages."""
        flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
        descriptor = os.memfd_create("millrace", flags)
        os.ftruncate(descriptor, _SMALLEST_BYTES)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        return cls(descriptor)

    @classmethod
    def given(cls, descriptor: int) -> Area:
        """Open the area of another process. Raises RunFailed unless it is sealed against shrinking."""
        if not fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK:
            os.close(descriptor)
            raise RunFailed("a client's memory may shrink", allowed="F_SEAL_SHRINK is set")
        return cls(descriptor)

    def write(self, batch: pa.RecordBatch) -> int:
        """Replace the area's content by a batch; return its size in bytes."""
        size = pa.ipc.get_record_batch_size(batch) + batch.schema.serialize().size + 64
        sink = pa.FixedSizeBufferWriter(pa.py_buffer(self._mapped(size, grow=True)))
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        return int(sink.tell())

    def read(self, size: int) -> pa.RecordBatch:
        """Return the batch that the other side wrote; its columns are views, valid until the next write."""
        buffer = pa.py_buffer(self._mapped(size, grow=False)).slice(0, size)
        with pa.ipc.open_stream(buffer) as reader:
            return reader.read_next_batch()

    def counter(self) -> memoryview:
        """Return a view of the signed number at the beginning: ``counter()[0]``."""
        return memoryview(self._mapped(8, grow=False))[:8].cast("q")

    def close(self) -> None:
        """Close the descriptor; views that still exist keep their memory."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
        self.descriptor, self._map = -1, None

    def _mapped(self, size: int, *, grow: bool) -> mmap.mmap:
        if self._map is not None and len(self._map) >= size:
            return self._map
        there = os.fstat(self.descriptor).st_size
        if there < size:
            if not grow:
                raise RunFailed("a message is longer than the memory it is in", got=f"{size} bytes")
            there = 1 << (size - 1).bit_length()
            os.ftruncate(self.descriptor, there)
        self._map = mmap.mmap(self.descriptor, there)
        return self._map
