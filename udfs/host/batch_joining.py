"""Joins several clients' requests to one model batch, and splits its outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from millrace.udfs.host.payload import cost_of
from millrace.udfs.runtime.examples import Values

_PADDING = 1.1  # a joined batch may cost so much more than its parts computed alone

Outputs = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class JoinLimits:
    """The size limits of a joined batch; a larger single request is computed alone."""

    rows: int  # where all shapes are equal
    tokens: int  # where lengths differ: rows times the longest


def joinable(questions: Sequence[Values], limits: JoinLimits) -> list[int]:
    """Return the indices of the requests to compute with the first, which is included, in order.

    It never waits for requests and never splits one.
    """
    if not questions:
        return []
    first = questions[0]
    rows, longest = cost_of(first)
    limit = limits.rows if isinstance(first, np.ndarray) else limits.tokens
    chosen, alone = [0], rows * longest
    for index, values in enumerate(questions[1:], 1):
        if not _alike(first, values):
            continue
        more, length = cost_of(values)
        together = (rows + more) * max(longest, length)
        if together <= min(limit, _PADDING * (alone + more * length)):
            chosen.append(index)
            rows, longest, alone = rows + more, max(longest, length), alone + more * length
    return chosen


def joined(questions: Sequence[Values]) -> Values:
    """Join the rows of all requests in order."""
    if len(questions) == 1:
        return questions[0]
    if isinstance(questions[0], np.ndarray):
        return np.concatenate(questions)
    return list(chain.from_iterable(questions))


def split(outputs: Outputs, counts: Sequence[int]) -> list[Outputs]:
    """Split outputs by the number of rows of each request."""
    ends = np.cumsum([0, *counts])
    return [
        {name: values[start:end] for name, values in outputs.items()}
        for start, end in pairwise(ends)
    ]


def _alike(one: Values, other: Values) -> bool:
    """Whether two questions can stand in one batch."""
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.dtype == other.dtype and one.shape[1:] == other.shape[1:]
    return not isinstance(one, np.ndarray) and not isinstance(other, np.ndarray)
