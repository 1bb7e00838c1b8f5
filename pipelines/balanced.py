"""Many conditions as one. A chain of some hundred of them overflows Spark's stack; a tree does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pyspark.sql import Column
from pyspark.sql import functions as F


def balanced(
    join: Callable[[Column, Column], Column], of: Sequence[Column], *, none: bool
) -> Column:
    """The conditions joined, two by two; ``none`` is what no condition at all comes to."""
    level = list(of) or [F.lit(none)]
    while len(level) > 1:
        pairs = [join(*level[at : at + 2]) for at in range(0, len(level) - 1, 2)]
        level = pairs + level[len(pairs) * 2 :]
    return level[0]
