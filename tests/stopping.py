"""A run that is stopped at a known place, as Ctrl-C does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from millrace.pipelines.run import unit_scoring


@contextmanager
def stopped_after_commits(count: int) -> Iterator[None]:
    """Stop the run inside once so many of its units are committed."""
    commits = 0

    def reached(place: str) -> None:
        nonlocal commits
        commits += place == "after_commit"
        if commits == count:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unit_scoring, "reached", reached)
        yield
