"""A log for machines: one JSON object a line on the error stream, each with its time, level and event."""

from __future__ import annotations

import json
import os
import sys
import threading
from datetime import UTC, datetime
from typing import Any

VARIABLE = "MILLRACE_LOG"
FORMS = ("plain", "json")
_LOCK = threading.Lock()  # a line is whole, whoever else writes one


def is_asked() -> bool:
    """Whether --log, or the environment, asks for it."""
    return os.environ.get(VARIABLE) == "json"


def ask(form: str | None) -> None:
    """Ask for a form, for all that this process says; None: as the environment has it."""
    if form is not None:
        os.environ[VARIABLE] = form


def write(event: str, message: str, *, level: str = "info", **facts: Any) -> None:
    """A line; facts that are None are left out."""
    about = {"at": datetime.now(UTC).isoformat(), "level": level, "event": event}
    known = {name: value for name, value in facts.items() if value is not None}
    line = json.dumps({**about, "message": message, **known}, default=str)
    with _LOCK:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
