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


def is_enabled() -> bool:
    """Whether --log, or the environment, selects JSON."""
    return os.environ.get(VARIABLE) == "json"


def enable(form: str | None) -> None:
    """Select the form of all progress of this process; None: leave it to the environment."""
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
