"""A test kit: faults on order, in the driver's code and around the model. Off, it does nothing.

It is on only where the environment variable ``MILLRACE_FAILPOINTS`` names a JSON script; a worker has
the variable from its driver's environment (``SparkContext.environment``). The script, all parts optional::

    {
      "driver": [
        {"at": "committed", "action": "kill", "nth": 2, "once": "/tmp/x/fired"}
      ],
      "predict": {
        "calls": "/tmp/x/calls",     a line a call of the model is appended: its rows
        "max_rows": 100,             a call with more is out of memory
        "rules": [{"action": "segv", "when": [0, 255], "once": "/tmp/x/fired"}]
      }
    }

Actions of the driver: kill (SIGKILL), stop (SIGSTOP), raise, sleep (``seconds``). Actions of the model:
kill, raise, sleep, and segv, exit, hang, oom, and on what it returns nan, short, wide. ``when`` is
``[position, value]``: a call that holds a row with that value at that place of its flattened input;
without it, every call. ``once`` names a file: the rule fires where it can be made, so once in all
processes that see it.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from schemas.errors import UsageError

if TYPE_CHECKING:  # the driver's code has no use for them
    from udfs.decode import Values
    from udfs.models.base import Model

VARIABLE = "MILLRACE_FAILPOINTS"
_EXIT_CODE = 3
_HANG_S = 3600.0


class Fault(RuntimeError):
    """What the action ``raise`` raises."""


@dataclass(frozen=True)
class Rule:
    """What to do, and when."""

    action: str
    at: str = ""  # the driver's failpoint
    nth: int = 1  # the driver's: at which time it is reached
    when: tuple[int, float] | None = (
        None  # the model's: place in a row's flattened input, and value
    )
    once: str | None = None  # a file
    seconds: float = _HANG_S

    def does_fire(self) -> bool:
        """Whether it may still fire; from then on, once is over."""
        if self.once is None:
            return True
        try:
            os.close(os.open(self.once, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            return False
        return True

    def marked(self, values: Values) -> NDArray[np.int64]:
        """The rows of a call that the rule is about."""
        if self.when is None:
            return np.arange(len(values))
        place, value = self.when
        return np.array([at for at, row in enumerate(values) if _at(row, place) == value], np.int64)


@dataclass(frozen=True)
class Script:
    """What the file says."""

    driver: tuple[Rule, ...] = ()
    rules: tuple[Rule, ...] = ()
    calls: Path | None = None
    max_rows: int | None = None
    reached: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Script:
        """Raises UsageError for a script that is not as this module says."""
        try:
            told = json.loads(path.read_text("utf-8"))
            driver, predict = told.pop("driver", []), told.pop("predict", {})
            calls = predict.pop("calls", None)
            script = cls(
                tuple(_rule(rule, _DOES) for rule in driver),
                tuple(_rule(rule, {**_DOES, **_SPOILS}) for rule in predict.pop("rules", [])),
                calls and Path(calls),
                predict.pop("max_rows", None),
            )
            if unknown := [*told, *predict]:
                raise ValueError(f"unknown: {', '.join(unknown)}")  # noqa: TRY301 - told with the rest
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise UsageError(
                f"{VARIABLE} names no script of failpoints",
                got=f"{path}: {error}"[:300],
                allowed="what udfs/failpoint.py describes",
                next=f"unset {VARIABLE}: it is for tests alone",
            ) from None
        return script


def reached(name: str) -> None:
    """The driver is at this failpoint: it goes on, unless a script says otherwise."""
    if ON:
        _reached(name)


def around(model: Model) -> Model:
    """The model itself; where a script says so, one that misbehaves by it."""
    if ON and (SCRIPT.rules or SCRIPT.calls or SCRIPT.max_rows):
        return cast("Model", Misbehaving(model, SCRIPT))
    return model


class Misbehaving:
    """A model whose `predict` follows a script; in all else the one inside."""

    def __init__(self, model: Model, script: Script) -> None:
        self._model, self._script = model, script

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def predict(self, values: Values) -> Mapping[str, NDArray[Any]]:
        """The model's outputs, unless a rule is about a row of ``values``."""
        if self._script.calls is not None:
            _append(self._script.calls, f"{len(values)}\n")
        if self._script.max_rows is not None and len(values) > self._script.max_rows:
            raise MemoryError(f"{len(values)} rows, of {self._script.max_rows} that fit")
        spoils = []
        for rule in self._script.rules:
            rows = rule.marked(values)
            if len(rows) and rule.does_fire():
                if rule.action in _SPOILS:
                    spoils.append((_SPOILS[rule.action], rows))
                else:
                    _DOES[rule.action](rule)
        outputs = dict(self._model.predict(values))
        for spoil, rows in spoils:
            outputs = {name: spoil(array, rows) for name, array in outputs.items()}
        return outputs


def _reached(name: str) -> None:
    times = SCRIPT.reached[name] = SCRIPT.reached.get(name, 0) + 1
    for rule in SCRIPT.driver:
        if rule.at == name and rule.nth == times and rule.does_fire():
            _DOES[rule.action](rule)


def _rule(told: Mapping[str, Any], actions: Mapping[str, Any]) -> Rule:
    rule = Rule(**told)
    if rule.action not in actions:
        raise ValueError(f"action {rule.action!r}, of {', '.join(actions)}")
    return rule


def _at(row: NDArray[Any], place: int) -> Any:
    flat = np.ravel(row)
    return flat[place] if place < len(flat) else None


def _append(path: Path, text: str) -> None:
    """In one write: lines of several processes do not mix."""
    descriptor = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _raise(rule: Rule) -> None:
    raise Fault(f"a failpoint said so at {rule.at or 'predict'}")


def _oom(_rule: Rule) -> None:
    raise MemoryError("a failpoint said so")


def _kill(_rule: Rule) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _stop(_rule: Rule) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(0.1)  # the signal may reach another thread first


def _exit(_rule: Rule) -> None:
    os._exit(_EXIT_CODE)


def _segv(_rule: Rule) -> None:
    ctypes.string_at(0)


def _sleep(rule: Rule) -> None:
    time.sleep(rule.seconds)


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


_DOES: dict[str, Callable[[Rule], None]] = {
    "kill": _kill,
    "stop": _stop,
    "raise": _raise,
    "sleep": _sleep,
    "hang": _sleep,
    "segv": _segv,
    "exit": _exit,
    "oom": _oom,
}
_SPOILS: dict[str, Callable[[NDArray[Any], NDArray[np.int64]], NDArray[Any]]] = {
    "nan": _nan,
    "short": _short,
    "wide": _wide,
}

ON = VARIABLE in os.environ
SCRIPT = Script.read(Path(os.environ[VARIABLE])) if ON else Script()
