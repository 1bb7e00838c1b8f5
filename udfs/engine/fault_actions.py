"""The effects of injected faults: on the process, or on a model's outputs."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from millrace.udfs.engine.fault_script import FaultRule

_EXIT_CODE = 3
_POLL_S = 0.05


class Fault(RuntimeError):
    """The exception of action ``raise``."""


def _raise(rule: FaultRule) -> None:
    raise Fault(f"a failpoint said so at {rule.at or 'predict'}")


def _oom(_rule: FaultRule) -> None:
    raise MemoryError("a failpoint said so")


def _kill(_rule: FaultRule) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _stop(_rule: FaultRule) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(0.1)  # the signal may reach another thread first


def _exit(_rule: FaultRule) -> None:
    os._exit(_EXIT_CODE)


def _segv(_rule: FaultRule) -> None:
    ctypes.string_at(0)


def _sleep(rule: FaultRule) -> None:
    time.sleep(rule.seconds)


def _wait(rule: FaultRule) -> None:
    deadline = time.monotonic() + rule.seconds
    while not Path(str(rule.until)).exists():
        if time.monotonic() > deadline:
            raise Fault(f"a failpoint waited {rule.seconds:g} s for {rule.until}")
        time.sleep(_POLL_S)


def _nan(array: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[Any]:
    if not np.issubdtype(array.dtype, np.floating):
        return array
    spoiled = array.copy()
    spoiled[rows] = np.nan
    return spoiled


def _short(array: NDArray[Any], _rows: NDArray[np.int64]) -> NDArray[Any]:
    return array[:-1]


def _wide(array: NDArray[Any], _rows: NDArray[np.int64]) -> NDArray[Any]:
    return np.stack([array, array], axis=-1)


ACTIONS: dict[str, Callable[[FaultRule], None]] = {
    "kill": _kill,
    "stop": _stop,
    "raise": _raise,
    "sleep": _sleep,
    "wait": _wait,
    "hang": _sleep,
    "segv": _segv,
    "exit": _exit,
    "oom": _oom,
}
SPOILS: dict[str, Callable[[NDArray[Any], NDArray[np.int64]], NDArray[Any]]] = {
    "nan": _nan,
    "short": _short,
    "wide": _wide,
}
