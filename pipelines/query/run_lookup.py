"""Lookup of a run by its id or by the first characters of it."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.query.engine import query
from millrace.pipelines.query.views import tables
from millrace.schemas.errors import UsageError
from millrace.schemas.tables import RUNS

LISTED = 10  # candidates that an error names


def the_run(prefix: str, known: Sequence[str], lake: LakeLocation) -> str:
    """Return the only one of the `known` ids that is, or begins with, `prefix`. Raises UsageError."""
    if prefix in known:
        return prefix
    found = [run_id for run_id in known if run_id.startswith(prefix)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(
            "several runs begin so", got=prefix, allowed=_list(found), next="add a few characters"
        )
    close = get_close_matches(prefix, known, LISTED, cutoff=0.4)
    raise UsageError(
        f"no run of this id in {lake}",
        got=prefix,
        allowed=_list(close or known) or "the lake has no runs",
        next=f"millrace runs --lake {lake}" if known else "millrace run JOB.yaml",
    )


def _list(run_ids: Sequence[str]) -> str:
    more = len(run_ids) - LISTED
    return ", ".join(run_ids[:LISTED]) + (f" and {more} more" if more > 0 else "")


def find(lake: LakeLocation, prefix: str | None) -> str:
    """Return the only run whose id is, or begins with, `prefix`; None: the latest. Raises UsageError."""
    known: list[str] = []
    if RUNS.name in tables(lake):
        sql = "SELECT run_id FROM runs GROUP BY run_id ORDER BY MAX(at) DESC, run_id"
        known = query(lake, sql)["run_id"].to_pylist()
    if prefix is None and known:
        return str(known[0])
    return the_run(prefix or "", known, lake)
