"""Memory of a process that computes: it keeps freed memory, and recognises its lack."""

from __future__ import annotations

import ctypes
import sys

# glibc's names of the settings (malloc.h), and the largest threshold that it takes.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_MOST_MMAP_THRESHOLD = 32 << 20
_NEVER = (1 << 31) - 1
_AT_A_TIME = 64 << 20


def keep_freed_memory() -> bool:
    """Keep freed memory in the process for the next batch; False if the C library has no such setting.

    By default glibc returns large blocks to the system at once, and the next batch's activations fault in
    every page again, which was a third of a small network's time. The process keeps as much memory as
    its largest batch needed.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # musl has none
        return False
    settings = {
        _MMAP_THRESHOLD: _MOST_MMAP_THRESHOLD,
        _TRIM_THRESHOLD: _NEVER,
        _TOP_PAD: _AT_A_TIME,
    }
    return all(mallopt(name, value) == 1 for name, value in settings.items())


def out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out: NumPy's, torch's on CUDA, or torch's on the CPU."""
    is_torch_on_cpu = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    return (
        is_torch_on_cpu
        or isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
    )
