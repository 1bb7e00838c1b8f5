"""A test kit: injects faults into the driver's code and around the model, as a script says.

Without a script (see `fault_script`) it does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from numpy.typing import NDArray

from millrace.udfs.engine.fault_actions import ACTIONS, SPOILS
from millrace.udfs.engine.fault_script import VARIABLE, FaultScript

if TYPE_CHECKING:  # the driver's code has no use for them
    from millrace.udfs.models.model_loading import Model
    from millrace.udfs.runtime.examples import Values


def reached(name: str) -> None:
    """Apply the script's rules for a failpoint of the driver; without a script, do nothing."""
    if ON:
        _reached(name)


def around(model: Model) -> Model:
    """Return the model, wrapped if a script has rules for it."""
    if ON and (SCRIPT.rules or SCRIPT.calls or SCRIPT.max_rows):
        return cast("Model", FaultyModel(model, SCRIPT))
    return model


class FaultyModel:
    """A model whose `predict` follows a script."""

    def __init__(self, model: Model, script: FaultScript) -> None:
        self._model, self._script = model, script

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def predict(self, values: Values) -> Mapping[str, NDArray[Any]]:
        """Return the model's outputs, changed by the rules that match a row of ``values``."""
        if self._script.calls is not None:
            _append(self._script.calls, f"{len(values)}\n")
        if self._script.max_rows is not None and len(values) > self._script.max_rows:
            raise MemoryError(f"{len(values)} rows, of {self._script.max_rows} that fit")
        spoils = []
        for rule in self._script.rules:
            rows = rule.marked(values)
            if len(rows) and rule.does_fire():
                if rule.action in SPOILS:
                    spoils.append((SPOILS[rule.action], rows))
                else:
                    ACTIONS[rule.action](rule)
        outputs = dict(self._model.predict(values))
        for spoil, rows in spoils:
            outputs = {name: spoil(array, rows) for name, array in outputs.items()}
        return outputs


def _reached(name: str) -> None:
    times = SCRIPT.reached[name] = SCRIPT.reached.get(name, 0) + 1
    for rule in SCRIPT.driver:
        if rule.at == name and rule.nth == times and rule.does_fire():
            ACTIONS[rule.action](rule)


def _append(path: Path, text: str) -> None:
    """In one write: lines of several processes do not mix."""
    descriptor = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


ON = VARIABLE in os.environ
SCRIPT = FaultScript.read(Path(os.environ[VARIABLE])) if ON else FaultScript()
