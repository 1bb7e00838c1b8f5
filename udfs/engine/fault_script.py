"""The script of injected faults.

The environment variable ``MILLRACE_FAILPOINTS`` names it; a worker has the variable from its driver's
environment (``SparkContext.environment``). It is JSON, all parts optional::

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

Actions of the driver: kill (SIGKILL), stop (SIGSTOP), raise, sleep (``seconds``), wait (for the file
``until``, ``seconds`` at most). Actions of the model:
kill, raise, sleep, wait, and segv, exit, hang, oom, and on what it returns nan, short, wide. ``when`` is
``[position, value]``: a call that holds a row with that value at that place of its flattened input;
without it, every call. ``once`` names a file: the rule fires where it can be made, so once in all
processes that see it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from millrace.schemas.errors import UsageError
from millrace.udfs.engine.fault_actions import ACTIONS, SPOILS

if TYPE_CHECKING:  # the driver's code has no use for them
    from millrace.udfs.runtime.examples import Values

VARIABLE = "MILLRACE_FAILPOINTS"
_HANG_S = 3600.0


@dataclass(frozen=True)
class FaultRule:
    """An action, and when it happens."""

    action: str
    at: str = ""  # the driver's failpoint
    nth: int = 1  # the driver's: at which time it is reached
    when: tuple[int, float] | None = (
        None  # the model's: place in a row's flattened input, and value
    )
    once: str | None = None  # a file
    seconds: float = _HANG_S
    until: str | None = None  # a file

    def does_fire(self) -> bool:
        """Whether the rule fires now; with ``once``, the first call alone returns True."""
        if self.once is None:
            return True
        try:
            os.close(os.open(self.once, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            return False
        return True

    def marked(self, values: Values) -> NDArray[np.int64]:
        """Return the rows of a call that match the rule."""
        if self.when is None:
            return np.arange(len(values))
        place, value = self.when
        return np.array([at for at, row in enumerate(values) if _at(row, place) == value], np.int64)


@dataclass(frozen=True)
class FaultScript:
    """The content of a script."""

    driver: tuple[FaultRule, ...] = ()
    rules: tuple[FaultRule, ...] = ()
    calls: Path | None = None
    max_rows: int | None = None
    reached: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> FaultScript:
        """Read a script. Raises UsageError for one of another form."""
        try:
            content = json.loads(path.read_text("utf-8"))
            driver, predict = content.pop("driver", []), content.pop("predict", {})
            calls = predict.pop("calls", None)
            script = cls(
                tuple(_rule(rule, ACTIONS) for rule in driver),
                tuple(_rule(rule, {**ACTIONS, **SPOILS}) for rule in predict.pop("rules", [])),
                calls and Path(calls),
                predict.pop("max_rows", None),
            )
            if unknown := [*content, *predict]:
                raise ValueError(f"unknown: {', '.join(unknown)}")  # noqa: TRY301 - reported with the rest
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise UsageError(
                f"{VARIABLE} names no script of failpoints",
                got=f"{path}: {error}"[:300],
                allowed="what udfs/engine/fault_script.py describes",
                next=f"unset {VARIABLE}: it is for tests alone",
            ) from None
        return script


def _rule(content: Mapping[str, Any], actions: Mapping[str, Any]) -> FaultRule:
    rule = FaultRule(**content)
    if rule.action not in actions:
        raise ValueError(f"action {rule.action!r}, of {', '.join(actions)}")
    return rule


def _at(row: NDArray[Any], place: int) -> Any:
    flat = np.ravel(row)
    return flat[place] if place < len(flat) else None
