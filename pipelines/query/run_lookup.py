"""The run that a user means: its id, or the first few characters of it."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from schemas.errors import UsageError

LISTED = 10  # candidates that an error names


def the_run(prefix: str, known: Sequence[str], lake: Path) -> str:
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
