"""Results as JSON files, one a workload and machine; rounds are added to those that are there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benches.contest import commit
from benches.figures import Figures
from benches.machine import machine, slug, versions

_SAME = ("kind", "workload", "rows", "machine", "versions")


class Other(RuntimeError):
    """Stored rounds that new ones cannot be compared with."""


def empty(kind: str, workload: str, about: str, rows: int) -> Figures:
    """A result without rounds; ``kind`` is contest or scaling."""
    return {
        "kind": kind,
        "workload": workload,
        "about": about,
        "rows": rows,
        "machine": machine(),
        "versions": versions(),
        "runs": {},
        "failures": {},
    }


def path_of(result: Mapping[str, Any], folder: Path) -> Path:
    """The file of a result."""
    cpu, cores = slug(result["machine"]["cpu"]), result["machine"]["cores"]
    prefix = "" if result["kind"] == "contest" else f"{result['kind']}-"
    return folder / f"{prefix}{result['workload']}-{cpu}-{cores}cores.json"


def resumed(fresh: Figures, folder: Path, again: Iterable[str] = ()) -> Figures:
    """``fresh`` with the rounds that are stored, save those of ``again``. Raises Other."""
    path = path_of(fresh, folder)
    if not path.is_file():
        return fresh
    kept: Figures = json.loads(path.read_text("utf-8"))
    if other := [name for name in _SAME if kept.get(name) != fresh[name]]:
        raise Other(
            f"{path} was measured with another {' and '.join(other)}; "
            "leave out --resume to replace it, or choose another --out"
        )
    for name in again:
        kept["runs"].pop(name, None)
    kept["failures"] = {}
    return kept


def store(result: Figures, folder: Path) -> Path:
    """Write the result in one step."""
    path = path_of(result, folder)
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    return part.replace(path)


def noted(name: str, found: Figures, folder: Path) -> Path:
    """Write ``<name>-<cpu>.json``: the figures, and on what and when they were measured; its path."""
    here = machine()
    told = {
        **found,
        "machine": here,
        "versions": versions(),
        "commit": commit(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{slug(here['cpu'])}.json"
    path.write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    return path


def results(folder: Path) -> list[Figures]:
    """All results in a folder, by file name; other people's JSON is left alone."""
    found = [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*cores.json"))]
    return [one for one in found if one.get("kind") in ("contest", "scaling") and one["runs"]]
