"""Values of a job that a call gives in place of the file's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def merged(tree: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tree with the changes; a mapping changes only the keys that it has."""
    tree = dict(tree)
    for key, value in changes.items():
        below = tree.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            tree[key] = merged(below, value)
        else:
            tree[key] = value
    return tree
