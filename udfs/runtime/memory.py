"""Memory of a process that computes: what is freed stays for the next batch; what to call its lack."""

from __future__ import annotations

import ctypes
import sys

# glibc's names of the settings (malloc.h), and the largest threshold that it takes.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_MOST_MMAP_THRESHOLD = 32 << 20
_NEVER = (1 << 31) - 1
_AT_A_TIME = 64 << 20


def keep_freed_memory() -> bool:
    """Let freed memory stay with the process, for the next batch; whether the C library could be told.

    By default glibc hands large blocks back at once, and the next batch's activations fault every
    page of them in again: of a small network's time that was a third. What is held is what the
    largest batch needed.
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
    """NumPy's, torch's for CUDA, and torch's allocator for the CPU, which only says so in words."""
    told = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    return told or isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
