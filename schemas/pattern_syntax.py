"""Syntax trees of Java's regular expressions.

A tree distinguishes characters only as far as overlaps depend on them: each of the 128 of ASCII, and all
others as letters, digits, spaces or the rest.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

Characters = frozenset[int]

_LETTER, _DIGIT, _SPACE, _REST = range(128, 132)
EVERY: Characters = frozenset(range(_REST + 1))
_ASCII = range(128)
_LETTERS = frozenset(code for code in _ASCII if chr(code).isalpha())
_DIGITS = frozenset(map(ord, "0123456789"))
_SPACES = frozenset(map(ord, " \t\n\r\f\v"))
_CLASSES: dict[str, Characters] = {
    "d": _DIGITS,
    "s": _SPACES,
    "h": frozenset(map(ord, " \t")) | {_SPACE},
    "v": frozenset(map(ord, "\n\r\f\v")) | {_SPACE},
    "w": _LETTERS | _DIGITS | {ord("_")},
}
_PROPERTIES: dict[str, Characters] = {
    "L": _LETTERS | {_LETTER},
    "N": _DIGITS | {_DIGIT},
    "Z": frozenset({ord(" "), _SPACE}),
}
_CONTROL = {"n": 10, "t": 9, "r": 13, "f": 12, "a": 7, "e": 27}
_ZERO_WIDTH = "bBAZzG"
_QUANTIFIER = re.compile(r"(?:([*+?])|\{(\d{1,6})(,?)(\d{0,6})\})[?+]?")
_GROUP = re.compile(r"\?(?:<[A-Za-z][A-Za-z0-9]*>|[imsu-]*:|>)")
_FLAGS = re.compile(r"\(\?[imsu-]+\)")
_LOOK = re.compile(r"\?<?[=!]")
_DEEPEST = 50


@dataclass(frozen=True)
class CharacterClass:
    """One character of a set."""

    characters: Characters


@dataclass(frozen=True)
class Concatenation:
    """Parts in sequence; without parts it matches the empty text."""

    parts: tuple[Node, ...] = ()


@dataclass(frozen=True)
class Alternation:
    """One of several parts."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Repetition:
    """A part repeated at least ``least`` and at most ``most`` times; None: without limit."""

    part: Node
    least: int
    most: int | None


@dataclass(frozen=True)
class Lookaround:
    """A lookahead or lookbehind; it consumes no character."""

    part: Node


Node = CharacterClass | Concatenation | Alternation | Repetition | Lookaround


def read(pattern: str) -> Node:
    """Parse a pattern. Raises ValueError for an invalid one, or one that cannot be judged."""
    reader = _Reader(pattern)
    tree = reader.either(0)
    if reader.at < len(pattern):
        raise ValueError("the pattern has a ) without its (")
    return tree


class _Reader:
    """A place in a pattern, going forward."""

    def __init__(self, pattern: str) -> None:
        self.pattern, self.at = pattern, 0
        flags = "".join(on.partition("-")[0] for on in re.findall(r"\(\?([imsu-]+)", pattern))
        self.folds = "i" in flags
        self.dot = EVERY if "s" in flags else EVERY - frozenset(map(ord, "\n\r"))

    def next(self, text: str) -> bool:
        """Whether the text stands here; if so it is passed."""
        found = self.pattern.startswith(text, self.at)
        self.at += len(text) if found else 0
        return found

    def passed(self, wanted: re.Pattern[str]) -> re.Match[str] | None:
        match = wanted.match(self.pattern, self.at)
        self.at = match.end() if match else self.at
        return match

    def one(self) -> str:
        if self.at >= len(self.pattern):
            raise ValueError("the pattern ends in the middle of something")
        self.at += 1
        return self.pattern[self.at - 1]

    def either(self, depth: int) -> Node:
        if depth > _DEEPEST:
            raise ValueError("the pattern is nested too deeply")
        parts = [self.each(depth)]
        while self.next("|"):
            parts.append(self.each(depth))
        return parts[0] if len(parts) == 1 else Alternation(tuple(parts))

    def each(self, depth: int) -> Node:
        parts: list[Node] = []
        while self.at < len(self.pattern) and self.pattern[self.at] not in "|)":
            part = self.atom(depth)
            while quantifier := self.passed(_QUANTIFIER):
                part = _repeat(part, quantifier)
            parts.append(part)
        return Concatenation(tuple(parts))

    def atom(self, depth: int) -> Node:
        if self.passed(_FLAGS):
            return Concatenation()
        if self.next(r"\Q"):
            return self.literal()
        char = self.one()
        if char in "(\\":
            return self.group(depth) if char == "(" else self.escape()
        if char in "^$":
            return Concatenation()
        if char == "[":
            return CharacterClass(self.folded(self.bracket()))
        return CharacterClass(self.dot if char == "." else self.folded(_code(char)))

    def group(self, depth: int) -> Node:
        looks = self.passed(_LOOK)
        if not looks and not self.passed(_GROUP) and self.next("?"):
            raise ValueError("the pattern has a kind of group that cannot be judged")
        inner = self.either(depth + 1)
        if not self.next(")"):
            raise ValueError("the pattern has a ( without its )")
        return Lookaround(inner) if looks else inner

    def literal(self) -> Node:
        end = self.pattern.find(r"\E", self.at)
        end = len(self.pattern) if end < 0 else end
        text, self.at = self.pattern[self.at : end], min(end + 2, len(self.pattern))
        return Concatenation(tuple(CharacterClass(self.folded(_code(char))) for char in text))

    def escape(self) -> Node:
        char = self.one()
        if char in _ZERO_WIDTH:
            return Concatenation()
        if char in "k123456789":
            raise ValueError("a pattern with a back reference can take for ever")
        return CharacterClass(self.folded(self.escaped(char)))

    def escaped(self, char: str) -> Characters:
        """The characters that an escape stands for; its first character has been passed."""
        if char.lower() in _CLASSES:
            return _CLASSES[char] if char.islower() else EVERY - _CLASSES[char.lower()]
        if char in "pP":
            return self.property_of(negated=char == "P")
        if char in "xu0c":
            return EVERY  # a character by its number: whichever
        if char in _CONTROL:
            return frozenset({_CONTROL[char]})
        return EVERY if char in "RXN" else _code(char)

    def property_of(self, *, negated: bool) -> Characters:
        match = self.passed(re.compile(r"\{(?:Is)?(\w)\w*\}|(\w)"))
        found = _PROPERTIES.get((match[1] or match[2]) if match else "", EVERY)
        return EVERY - found if negated and found != EVERY else found

    def bracket(self) -> Characters:
        """A class; its ``[`` has been passed."""
        negated, found, first = self.next("^"), set[int](), True
        while first or not self.next("]"):
            first = False
            char = self.one()
            if char == "[" or self.pattern.startswith("&&", self.at):
                self.skip_bracket()
                return EVERY  # classes of classes: judged as if they took everything
            found |= self.escaped(self.one()) if char == "\\" else self.span(char)
        return EVERY - found if negated else frozenset(found)

    def span(self, char: str) -> Characters:
        if not re.match(r"-[^\]\\[]", self.pattern[self.at :]):
            return _code(char)
        self.at += 1
        last = ord(self.one())
        ascii_only = frozenset(range(ord(char), min(last, 127) + 1))
        return ascii_only | (EVERY - frozenset(_ASCII) if last > _ASCII[-1] else frozenset())

    def skip_bracket(self) -> None:
        depth = 1 + (self.pattern[self.at - 1] == "[")
        while depth:
            char = self.one()
            if char == "\\":
                self.one()
            depth += (char == "[") - (char == "]")

    def folded(self, found: Characters) -> Characters:
        """With both cases of its letters, where the pattern does not tell them apart."""
        if not self.folds:
            return found
        both = {ord(other) for code in found & _LETTERS for other in chr(code).swapcase()}
        return found | both


def _code(char: str) -> Characters:
    if ord(char) in _ASCII:
        return frozenset({ord(char)})
    kind = unicodedata.category(char)[0]
    return frozenset({{"L": _LETTER, "N": _DIGIT, "Z": _SPACE}.get(kind, _REST)})


def _repeat(part: Node, quantifier: re.Match[str]) -> Repetition:
    sign, least, comma, most = quantifier.groups()
    if sign:
        return Repetition(part, int(sign == "+"), 1 if sign == "?" else None)
    return Repetition(part, int(least), int(most) if most else None if comma else int(least))
