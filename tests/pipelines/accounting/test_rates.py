"""Which price applies when: every instant has one, and a gap is said."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from millrace.pipelines.accounting.rates import Rate, rate_of
from millrace.pipelines.job import instance_price
from millrace.pipelines.job.instance_metadata import CloudInstance
from millrace.schemas.config import Cost
from millrace.schemas.errors import UsageError
from millrace.schemas.prices import PriceBook

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def hour(number: float) -> datetime:
    return BEGAN + timedelta(hours=number)


def entry(start: float, end: float | None = None, **changes: Any) -> dict[str, Any]:
    return {
        "sku": "m", "region": "r", "vcpus": 4, "memory_gb": 16, "price_per_hour": "0.2", "source": "t",
        "valid_from": hour(start), "valid_to": None if end is None else hour(end), **changes,
    }  # fmt: skip


def book(*entries: dict[str, Any]) -> PriceBook:
    return PriceBook.model_validate({"currency": "USD", "instances": entries})


def spot(*spans: tuple[float, float | None]) -> Rate:
    entries = [entry(*span, price_per_hour=at + 1) for at, span in enumerate(spans)]
    return rate_of(book(*reversed(entries)), "m")


def told(rate: Rate, start: float, end: float) -> list[tuple[int, float, float]]:
    return [
        (
            int(one.price_per_hour),
            (since - BEGAN) / timedelta(hours=1),
            (until - BEGAN) / timedelta(hours=1),
        )
        for one, since, until in rate.pieces(hour(start), hour(end))
    ]


def test_a_price_that_changes_within_the_interval_splits_it() -> None:
    rate = spot((0, 4), (4, 8), (8, None))
    assert told(rate, 3, 9) == [(1, 3, 4), (2, 4, 8), (3, 8, 9)]
    assert told(rate, 4, 8) == [(2, 4, 8)]
    assert told(rate, 5, 6) == [(2, 5, 6)]


def test_in_a_gap_the_price_before_it_stays_and_the_piece_says_so() -> None:
    rate = spot((2, 4), (6, None))
    assert told(rate, 0, 8) == [(1, 0, 2), (1, 2, 4), (1, 4, 6), (2, 6, 8)]
    pieces = rate.pieces(hour(0), hour(8))
    assert [piece.is_covered for piece in pieces] == [False, True, False, True]
    assert rate.gaps(hour(0), hour(8)) == (pieces[0], pieces[2])


def test_an_interval_without_length_or_against_the_clock_is_one_piece() -> None:
    rate = spot((0, 4), (4, None))
    assert told(rate, 4, 4) == [(2, 4, 4)]
    assert told(rate, 5, 3) == [(2, 5, 5)]


def test_a_rate_of_one_instance_needs_no_list_of_entries() -> None:
    one = spot((0, None)).instance
    assert Rate(one, "USD", "v").pieces(hour(1), hour(2)) == ((one, hour(1), hour(2)),)


spans = st.lists(st.integers(0, 40), min_size=2, max_size=8, unique=True).map(sorted)


@given(spans, st.booleans(), st.integers(-5, 45), st.integers(0, 30))
def test_pieces_cover_the_interval_once_each_with_the_entry_in_force(
    edges: list[int], is_open: bool, start: int, length: int
) -> None:
    found = [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=False)]
    assume(found)
    rate = spot(*found[:-1], (found[-1][0], None if is_open else found[-1][1]))
    pieces = rate.pieces(hour(start), hour(start + length))

    assert (pieces[0].start, pieces[-1].end) == (hour(start), hour(start + length))
    assert all(one.end == after.start for one, after in pairwise(pieces))
    assert length == 0 or all(piece.start < piece.end for piece in pieces)
    for piece in pieces:
        middle = piece.start + (piece.end - piece.start) / 2
        in_force = [one for one in rate.entries if one.covers(middle)]
        assert [piece.instance] == in_force if piece.is_covered else in_force == []


def test_the_entry_in_force_is_the_rates_instance() -> None:
    entries = book(entry(0, 4, price_per_hour=1), entry(4, price_per_hour=2))
    assert rate_of(entries, "m", at=hour(1)).instance.price_per_hour == 1
    assert rate_of(entries, "m", at=hour(9)).instance.price_per_hour == 2


@pytest.mark.parametrize(
    ("at", "gap"),
    [
        (1, "2026-01-01T01:00:00Z, in a gap until 2026-01-01T02:00:00Z"),
        (5, "2026-01-01T05:00:00Z, in a gap from 2026-01-01T04:00:00Z until 2026-01-01T06:00:00Z"),
        (9, "2026-01-01T09:00:00Z, in a gap from 2026-01-01T08:00:00Z on"),
    ],
)
def test_an_instant_that_no_entry_covers_is_refused_with_its_gap(at: float, gap: str) -> None:
    with pytest.raises(UsageError) as error:
        rate_of(book(entry(2, 4), entry(6, 8)), "m", at=hour(at))
    assert error.value.got == gap
    assert error.value.allowed is not None
    assert error.value.allowed.count("m in r (Standard) from") == 2


HAS = book(
    entry(0, region="east"), entry(0, region="west"), entry(0, category="Dynamic", region="east"),
    entry(0, sku="n"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("words", "what", "allowed", "next_"),
    [
        ({"sku": "x"}, "no such instance", "m, n", "cost.instance"),
        ({"sku": "m"}, "in several regions", "east, west", "cost.region"),
        ({"sku": "m", "region": "north"}, "in this region", "east, west", "cost.region"),
        ({"sku": "m", "category": "Committed"}, "in this category", "Standard, Dynamic", "cost.category"),
        ({"sku": "m", "category": "Dynamic", "region": "west"}, "no Dynamic price", "east", "cost.region"),
    ],
)  # fmt: skip
def test_what_the_book_does_not_have_is_refused_with_what_it_has(
    words: dict[str, Any], what: str, allowed: str, next_: str
) -> None:
    with pytest.raises(UsageError) as error:
        rate_of(HAS, **words)
    assert what in error.value.what
    assert error.value.allowed == allowed
    assert next_ in str(error.value.next)


def test_a_region_or_a_category_picks_one_of_several_prices() -> None:
    assert rate_of(HAS, "m", region="west").instance.region == "west"
    assert rate_of(HAS, "m", category="Dynamic").instance.category == "Dynamic"
    assert rate_of(HAS, "n").entries == (HAS.instances[3],)


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    path = tmp_path / "book.yaml"
    path.write_text(
        yaml.safe_dump(
            {"currency": "USD", "instances": [entry(0, region="east"), entry(0, region="west")]}
        )
    )
    return path


def cost(prices: Path, **changes: Any) -> Cost:
    return Cost.model_validate({"prices": str(prices), "instance": "m", **changes})


def test_a_job_names_sku_region_and_category(prices: Path) -> None:
    found = instance_price.rate(cost(prices, region="west"), hour(1))
    assert found is not None
    assert (found.instance.region, found.currency) == ("west", "USD")
    assert instance_price.rate(None, hour(1)) is None


def test_auto_is_what_the_cloud_says_this_machine_is(prices: Path) -> None:
    auto = cost(prices, instance="auto")
    found = instance_price.rate(auto, hour(1), lambda: CloudInstance("m", "east", "aws"))
    assert found is not None
    assert found.instance.region == "east"
    named = instance_price.rate(
        cost(prices, instance="auto", region="west"),
        hour(1),
        lambda: CloudInstance("m", "x", "aws"),
    )
    assert named is not None
    assert named.instance.region == "west"


@pytest.mark.parametrize(
    "machine", [None, CloudInstance("q", "east", "aws"), CloudInstance("m", "north", "gcp")]
)
def test_auto_is_refused_with_what_the_book_has_where_the_machine_is_not_in_it(
    prices: Path, machine: CloudInstance | None
) -> None:
    with pytest.raises(UsageError) as error:
        instance_price.rate(cost(prices, instance="auto"), hour(1), lambda: machine)
    assert error.value.allowed == ("east, west" if machine and machine.sku == "m" else "m")
