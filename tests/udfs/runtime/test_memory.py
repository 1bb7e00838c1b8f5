from __future__ import annotations

import subprocess
import sys

import pytest

from millrace.udfs.runtime.memory import out_of_memory

_FAULTS = """
import resource, sys
import numpy as np
from millrace.udfs.runtime.memory import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
def batch():
    return float(np.ones(8 << 20, np.uint8)[-1])
batch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    batch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", _FAULTS, how], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator is Linux's")
def test_the_pages_of_a_batch_are_not_faulted_in_again_by_the_next() -> None:
    assert faults("handed back") > 10 * max(faults("kept"), 1)


@pytest.mark.parametrize(
    ("error", "is_it"),
    [
        (MemoryError(), True),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("shapes differ"), False),
        (ValueError("can't allocate memory"), False),
    ],
)
def test_running_out_of_memory_is_known_from_other_errors(error: Exception, is_it: bool) -> None:
    assert out_of_memory(error) is is_it
