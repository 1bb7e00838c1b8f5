"""Other places to run, in primes; the front and the cheapest against what their words say; the picture."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.pipelines.inference.time_model import Estimate, LinearTime, RunTimeModel, Workload
from millrace.pipelines.planning.alternatives import (
    Offer,
    RunEstimate,
    cheapest,
    elsewhere,
    front,
    here,
    widened,
)
from millrace.pipelines.planning.cost_time_chart import picture
from millrace.schemas.prices import Instance, PriceBook
from millrace.schemas.yaml_file import load

numbers = st.floats(0.01, 1e5)


def instance(sku: str = "x") -> Instance:
    """Primes: 7 cores; a core and the 5 GB held with it cost 2 + 3 x 5 a second."""
    return Instance(
        sku=sku, region="r", vcpus=7, memory_gb=35, source="s", valid_from=date(2026, 1, 1),
        price_per_hour=3600 * (7 * 2 + 35 * 3), core_weight=2, gb_weight=3,
    )  # fmt: skip


def whole(told_s: float | None = None) -> RunEstimate:
    """It takes 11 once, 13 a unit, 17 a row on 19 slots: of 23 rows and 29 units."""
    shape = RunTimeModel(11, 13, LinearTime(0, 17), slots=19)
    mid = told_s or shape.seconds(Workload(23), 29, 19)
    return RunEstimate(shape, Workload(23), 29, Estimate(mid / 2, mid, mid * 2))


def offer(seconds: float, cost: float, name: str = "x", executors: int = 1) -> Offer:
    return Offer(
        name,
        executors,
        2,
        Estimate(seconds / 1.5, seconds, seconds * 1.5),
        Estimate(cost / 2, cost, cost * 2),
    )


def test_here_costs_its_time_times_all_slots() -> None:
    told = here(whole(), "x", instance())
    assert told.seconds.mid == pytest.approx(11 + 13 * 29 + 17 * 23)
    assert told.cost is not None
    assert told.cost.mid == pytest.approx((11 + 13 * 29 + 17 * 23) * 19 * (2 + 3 * 5))
    assert here(whole(), "x", None).cost is None


def test_elsewhere_what_grows_is_divided_by_slots_and_speed_and_the_rest_is_not() -> None:
    told = {one.executors: one for one in elsewhere(whole(), [instance()], {})}
    assert sorted(told) == [1, 2, 4, 8, 16]
    units = math.ceil(29 * 19 / 28)
    seconds = 11 + 13 * units + 17 * 23 * 19 / 28
    assert (told[4].slots, told[4].is_measured) == (28, False)
    assert told[4].seconds.mid == pytest.approx(seconds)
    assert told[4].cost is not None
    assert told[4].cost.mid == pytest.approx(seconds * 28 * (2 + 3 * 5))
    quick = elsewhere(whole(), [instance()], {"x": 1.5})[2]
    assert quick.seconds.mid == pytest.approx(11 + 13 * units + 17 * 23 * 19 / 28 / 1.5)
    assert quick.is_measured


def test_what_past_runs_corrected_here_is_corrected_elsewhere() -> None:
    plain, corrected = (
        elsewhere(whole(), [instance()], {}),
        elsewhere(whole(1000), [instance()], {}),
    )
    ratio = 1000 / whole().seconds.mid
    for one, other in zip(plain, corrected, strict=True):
        assert other.seconds.mid == pytest.approx(ratio * one.seconds.mid)


def test_what_was_not_measured_is_less_sure() -> None:
    guessed, known = (
        elsewhere(whole(), [instance()], {})[0],
        elsewhere(whole(), [instance()], {"x": 1.0})[0],
    )
    assert known.seconds.high < guessed.seconds.high
    assert widened(Estimate(5, 7, 9.8), 0.0) == Estimate(pytest.approx(5), 7, pytest.approx(9.8))


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=20))
def test_no_offer_is_quicker_and_cheaper_than_one_of_the_front(
    pairs: list[tuple[float, float]],
) -> None:
    offers = [offer(seconds, cost) for seconds, cost in pairs]
    best = [(one.seconds.mid, one.cost.mid) for one in front(offers) if one.cost]
    assert best
    assert set(best) <= set(pairs)
    for seconds, cost in pairs:
        assert any(s <= seconds and c <= cost for s, c in best)
    assert not any(s < seconds and c < cost for seconds, cost in best for s, c in pairs)


@given(st.lists(st.tuples(numbers, numbers), max_size=20), st.one_of(st.none(), numbers))
def test_the_cheapest_ends_before_the_deadline_even_at_its_intervals_end(
    pairs: list[tuple[float, float]], deadline: float | None
) -> None:
    offers = [offer(seconds, cost) for seconds, cost in pairs]
    within = [cost for seconds, cost in pairs if deadline is None or seconds * 1.5 <= deadline]
    found = cheapest(offers, deadline)
    assert (None if found is None or found.cost is None else found.cost.mid) == min(
        within, default=None
    )


def test_without_prices_there_is_no_front_and_no_cheapest() -> None:
    free = here(whole(), "x", None)
    assert front([free]) == []
    assert cheapest([free], None) is None


@given(
    st.lists(st.tuples(st.floats(0.5, 1e6), st.floats(1e-9, 1e6)), min_size=1, max_size=9),
    st.one_of(st.none(), st.floats(1, 1e6)),
)
def test_the_picture_is_xml_with_a_dot_an_offer_inside_its_frame(
    pairs: list[tuple[float, float]], deadline: float | None
) -> None:
    offers = [offer(seconds, cost, "<&\"x'>", n + 1) for n, (seconds, cost) in enumerate(pairs)]
    drawn = ET.fromstring(
        picture(offers, front(offers), cheapest(offers, deadline), deadline, "EUR")
    )
    dots = [one for one in drawn.iter() if one.tag.endswith("circle")]
    assert len(dots) == len(offers)
    for dot in dots:
        assert 74 <= float(dot.attrib["cx"]) <= 760 - 150
        assert 64 <= float(dot.attrib["cy"]) <= 460 - 56


def test_the_shipped_price_book_gives_offers() -> None:
    book = load(Path("conf/prices/example.yaml"), PriceBook)
    found = elsewhere(whole(), book.instances, {})
    assert len(found) == 5 * len(book.instances)
    assert all(one.cost is not None and one.cost.mid > 0 for one in found)
