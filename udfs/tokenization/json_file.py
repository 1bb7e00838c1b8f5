"""Reads the JSON files of a model folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from millrace.schemas.errors import ModelError


def json_value(path: Path) -> Any:
    """Return the value in a JSON file. Raises ModelError for another format."""
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ModelError(f"{path} is not JSON", got=str(error)) from None


def json_object(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; empty if there is no such file. Raises ModelError."""
    found = json_value(path) if path.is_file() else {}
    if not isinstance(found, dict):
        raise ModelError(f"{path} is not a JSON object", got=type(found).__name__)
    return found
