"""Finds patterns of rules that can backtrack for ever, before any row is read.

Java's engine, which Spark uses, tries every way in which a pattern can match a text, without a time
limit. If a pattern can match a stretch of text in two ways, and again after it, as ``(a+)+$`` can, the
ways double with every character, and one row hangs its task. The position automaton (Glushkov's) shows
such patterns: they have two different ways round one loop, over the same characters.

A time that is a power of the text's length, as of ``a.*b.*c``, is allowed: bound the text's length.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TypeVar

from millrace.schemas.pattern_syntax import (
    Alternation,
    CharacterClass,
    Characters,
    Concatenation,
    Lookaround,
    Node,
    Repetition,
    read,
)

LONGEST = 1000  # characters of a pattern
MOST_WILDCARDS = (
    8  # % in a LIKE pattern: the time is a power of the text's length with that exponent
)
_MOST_PLACES = 300
_MOST_COPIES = 100  # of what a count repeats; more is as good as without end
_MOST_STEPS = 500_000  # of two walks; a second or so
_FEW = 3

Vertex = TypeVar("Vertex", bound=Hashable)


def refuse_like(pattern: str) -> None:
    """Raise ValueError for a LIKE pattern with more wildcards than its time allows."""
    if pattern.count("%") > MOST_WILDCARDS:
        raise ValueError(f"a LIKE pattern may have {MOST_WILDCARDS} % at most")


def refuse_endless(pattern: str) -> None:
    """Raise ValueError for a regular expression that can backtrack for ever, or cannot be judged."""
    if len(pattern) > LONGEST:
        raise ValueError(f"a pattern may have {LONGEST:,} characters at most")
    _refuse_tree(read(pattern))


def _refuse_tree(tree: Node) -> None:
    automaton = _Automaton()
    automaton.part(tree)
    if automaton.is_endless():
        raise ValueError(
            "the pattern can match one text in ever more ways, and would backtrack for ever: what a "
            "group repeats must not also be matched by a part of the group, or by its next round"
        )


@dataclass(frozen=True)
class _Fragment:
    """Where a piece of a pattern can begin and end, and whether it may take nothing."""

    first: Sequence[int] = ()
    last: Sequence[int] = ()
    nullable: bool = True


class _Automaton:
    """The places of a pattern: what each takes, and in how many ways which others can follow it."""

    def __init__(self) -> None:
        self.takes: list[Characters] = []
        self.follows: list[dict[int, int]] = []

    def part(self, node: Node) -> _Fragment:
        """Add the node's places."""
        if isinstance(node, CharacterClass):
            return self._place(node.characters)
        if isinstance(node, Concatenation):
            return self._each(node.parts)
        if isinstance(node, Alternation):
            parts = [self.part(one) for one in node.parts]
            return _Fragment(
                [at for one in parts for at in one.first],
                [at for one in parts for at in one.last],
                any(one.nullable for one in parts),
            )
        if isinstance(node, Lookaround):
            _refuse_tree(node.part)
            return _Fragment()
        return self._repeat(node)

    def _place(self, takes: Characters) -> _Fragment:
        if len(self.takes) == _MOST_PLACES:
            raise ValueError(
                f"a pattern may have {_MOST_PLACES} places at most, counts written out"
            )
        self.takes.append(takes)
        self.follows.append({})
        at = len(self.takes) - 1
        return _Fragment([at], [at], nullable=False)

    def _each(self, nodes: Sequence[Node]) -> _Fragment:
        whole = _Fragment()
        for node in nodes:
            part = self.part(node)
            self._link(whole.last, part.first)
            whole = _Fragment(
                [*whole.first, *(part.first if whole.nullable else ())],
                [*part.last, *(whole.last if part.nullable else ())],
                whole.nullable and part.nullable,
            )
        return whole

    def _repeat(self, node: Repetition) -> _Fragment:
        if node.most is not None and node.most <= _MOST_COPIES:
            return self._counted(node, node.most)
        inner = self.part(node.part)
        self._link(inner.last, inner.first)
        return _Fragment(inner.first, inner.last, inner.nullable or node.least == 0)

    def _counted(self, node: Repetition, most: int) -> _Fragment:
        """So many copies, of which each may only follow the one before it."""
        after = _Fragment()
        for number, copy in reversed(list(enumerate([self.part(node.part) for _ in range(most)]))):
            if copy.nullable and most > _FEW:
                raise ValueError(
                    "the pattern repeats, by count, what may be nothing: write it apart"
                )
            self._link(copy.last, after.first)
            after = _Fragment(
                [*copy.first, *(after.first if copy.nullable else ())],
                [*after.last, *(copy.last if after.nullable else ())],
                number >= node.least or (copy.nullable and after.nullable),
            )
        return after

    def _link(self, lasts: Sequence[int], firsts: Sequence[int]) -> None:
        for last, first in product(lasts, firsts):
            self.follows[last][first] = self.follows[last].get(first, 0) + 1

    def is_endless(self) -> bool:
        """Whether some loop can be gone round in two ways over one text."""
        loops = components({at: list(after) for at, after in enumerate(self.follows)})
        loop_of = {at: number for number, loop in enumerate(loops) for at in loop}
        return any(
            ways > 1 and loop_of[at] == loop_of[to]
            for at, after in enumerate(self.follows)
            for to, ways in after.items()
        ) or any(self._has_two_ways(loop) for loop in loops if len(loop) > 1)

    def _has_two_ways(self, loop: Sequence[int]) -> bool:
        """Two walks side by side that begin together, part, and are together again."""
        inside = set(loop)
        pairs: dict[tuple[int, int], list[tuple[int, int]]] = {}
        waiting, steps = [(at, at) for at in loop], 0
        while waiting:
            pair = waiting.pop()
            if pair in pairs:
                continue
            pairs[pair] = [
                (a, b)
                for a, b in product(self.follows[pair[0]], self.follows[pair[1]])
                if {a, b} <= inside and self.takes[a] & self.takes[b]
            ]
            waiting += pairs[pair]
            steps += len(self.follows[pair[0]]) * len(self.follows[pair[1]])
            if steps > _MOST_STEPS:
                raise ValueError("the pattern has too many ways to go on, and cannot be judged")
        return any(
            any(a == b for a, b in found) and any(a != b for a, b in found)
            for found in components(pairs)
        )


def components(graph: Mapping[Vertex, Sequence[Vertex]]) -> list[list[Vertex]]:
    """Return the strongly connected components of a graph (Tarjan's algorithm, without recursion)."""
    index: dict[Vertex, int] = {}
    low: dict[Vertex, int] = {}
    stack: list[Vertex] = []
    on_stack: set[Vertex] = set()
    found = []
    for root in graph:
        walk = [(root, iter(graph[root]))] if root not in index else []
        while walk:
            at, after = walk[-1]
            if at not in index:
                index[at] = low[at] = len(index)
                stack.append(at)
                on_stack.add(at)
            deeper = next(
                (to for to in after if to not in index or _lowered(to, at, index, low, on_stack)),
                None,
            )
            if deeper is not None:
                walk.append((deeper, iter(graph[deeper])))
                continue
            walk.pop()
            if walk:
                low[walk[-1][0]] = min(low[walk[-1][0]], low[at])
            if low[at] == index[at]:
                cut = stack.index(at)
                found.append(stack[cut:])
                on_stack -= set(stack[cut:])
                del stack[cut:]
    return found


def _lowered(
    to: Vertex,
    at: Vertex,
    index: Mapping[Vertex, int],
    low: dict[Vertex, int],
    on_stack: set[Vertex],
) -> bool:
    """Note that ``at`` reaches ``to``, which is visited already; never a reason to go there."""
    if to in on_stack:
        low[at] = min(low[at], index[to])
    return False
