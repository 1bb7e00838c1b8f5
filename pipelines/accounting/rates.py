"""The price of a run: which entries of a book apply to an instance, and which of them when."""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

from millrace.schemas.errors import UsageError
from millrace.schemas.focus import CATEGORIES, Category
from millrace.schemas.prices import METERS, Instance, PriceBook, Region

NEAREST = "no price for this time: the nearest applied"  # in x_Quality


class Piece(NamedTuple):
    """A part of an allocated interval, and the price entry that applied to it."""

    instance: Instance
    start: datetime
    end: datetime

    @property
    def is_covered(self) -> bool:
        """Whether the entry was in force all that time; else it was only the nearest."""
        return self.instance.covers(self.start, self.end)


@dataclass(frozen=True)
class Rate:
    """The prices that apply to a run: one sku in one region and category, over time."""

    instance: Instance  # the entry that applies first
    currency: str
    book_version: str
    entries: tuple[Instance, ...] = ()  # all of them, in the order of time; empty: the one alone
    grid: Region | None = None  # what electricity is where the machine is, if the book says

    def as_json(self) -> str:
        """For the run's events: all that its bill depends on."""
        entries = [one.model_dump(mode="json") for one in self._all]
        stored = {
            "currency": self.currency,
            "book_version": self.book_version,
            "entries": entries,
            "first": self._all.index(self.instance),
            "grid": self.grid and self.grid.model_dump(mode="json"),
        }
        return json.dumps(stored)

    @staticmethod
    def from_json(text: str) -> Rate:
        """Return the rate that `as_json` wrote."""
        stored = json.loads(text)
        entries = tuple(Instance.model_validate(one) for one in stored["entries"])
        grid = stored.get("grid") and Region.model_validate(stored["grid"])
        return Rate(
            entries[stored["first"]], stored["currency"], stored["book_version"], entries, grid
        )

    def pieces(self, start: datetime, end: datetime) -> tuple[Piece, ...]:
        """The interval [start, end) by the entry that applied, in order and without a hole.

        Where no entry is in force, the nearest applies: the one before stays until the next begins,
        and the first reaches back. `Piece.is_covered` says so, and a gap is a piece of its own. An
        interval that is empty, or ends before it starts, is one piece without length.
        """
        end = max(start, end)
        inside = self._edges[bisect_right(self._edges, start) : bisect_left(self._edges, end)]
        cuts = [start, *inside, end]
        return tuple(Piece(self.at(since), since, until) for since, until in pairwise(cuts))

    def at(self, moment: datetime) -> Instance:
        """The entry that applies at a moment; where none is in force, the nearest."""
        begun = bisect_right(self._all, moment, key=lambda one: one.valid_from)
        return self._all[max(0, begun - 1)]

    def gaps(self, start: datetime, end: datetime) -> tuple[Piece, ...]:
        """The pieces of the interval for which no entry is in force."""
        return tuple(piece for piece in self.pieces(start, end) if not piece.is_covered)

    @cached_property
    def _edges(self) -> list[datetime]:
        """When a price begins or ends, in order."""
        return sorted({at for one in self._all for at in (one.valid_from, one.valid_to) if at})

    @property
    def _all(self) -> tuple[Instance, ...]:
        return self.entries or (self.instance,)


def rate_of(
    book: PriceBook,
    sku: str,
    *,
    category: Category = "Standard",
    region: str | None = None,
    at: datetime | None = None,
    option: str = "cost.{}",
) -> Rate:
    """The entries of a sku, the first that applies at ``at`` in front.

    Raises UsageError, with what the book has, for an unknown sku, category or region, for a region
    that must be named, and for an ``at`` that no entry covers. ``option`` is how a user names them.
    """
    found = _picked(book, sku, category, region, option)
    entries = tuple(sorted(found, key=lambda one: one.valid_from))
    grid = book.regions.get(entries[0].region)
    rate = Rate(entries[0], book.currency, book.version, entries, grid)
    if at is None:
        return rate
    first = rate.at(at)
    if not first.covers(at):
        raise UsageError(
            f"no price of {sku} in {first.region} ({category}) applies now",
            got=f"{_time_text(at)}, in a gap {_gap(entries, at)}",
            allowed="; ".join(one.title for one in entries),
            next="add an entry for this time to the price book",
        )
    return replace(rate, instance=first)


def _picked(
    book: PriceBook,
    sku: str,
    category: Category,
    region: str | None,
    option: str,
) -> list[Instance]:
    """The entries of one sku, region and category."""
    known = [one for one in book.instances if one.sku == sku]
    if not known:
        raise UsageError(
            "the price book has no such instance",
            got=sku,
            allowed=", ".join(dict.fromkeys(one.sku for one in book.instances)),
            next=f"correct {option.format('instance')}, or add it to the price book",
        )
    priced = [one for one in known if one.category == category]
    if not priced:
        has = [name for name in CATEGORIES if name in {one.category for one in known}]
        raise UsageError(
            f"the price book has no price of {sku} in this category",
            got=category,
            allowed=", ".join(has),
            next=f"set {option.format('category')}, or add an entry to the price book",
        )
    regions = sorted({one.region for one in priced})
    if region is None and len(regions) > 1:
        raise UsageError(
            f"{sku} is in several regions of the price book, at a price for each",
            allowed=", ".join(regions),
            next=f"set {option.format('region')}",
        )
    if region is not None and region not in regions:
        raise UsageError(
            f"the price book has no {category} price of {sku} in this region",
            got=region,
            allowed=", ".join(regions),
            next=f"set {option.format('region')}, or add an entry to the price book",
        )
    return [one for one in priced if region in (None, one.region)]


def _gap(entries: Sequence[Instance], at: datetime) -> str:
    """Where the gap around a moment begins and ends, in words."""
    ended = max(
        (one.valid_to for one in entries if one.valid_to and one.valid_to <= at), default=None
    )
    begins = min((one.valid_from for one in entries if one.valid_from > at), default=None)
    return " ".join(_bounds(ended, begins))


def _bounds(ended: datetime | None, begins: datetime | None) -> Iterator[str]:
    if ended:
        yield f"from {_time_text(ended)}"
    if begins:
        yield f"until {_time_text(begins)}"
    if not begins:
        yield "on"


def _time_text(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def second(machine: Instance, slots: int) -> Decimal:
    """The price of so many slots for a second: cores, with their memory and GPUs."""
    return slots * sum(
        (machine.unit_price(meter) * machine.per_core(meter) for meter in METERS), Decimal(0)
    )
