"""Price books: parts sum to the whole, one price at a time, and a name for all that they say."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from millrace.schemas.errors import JobFileError
from millrace.schemas.prices import METERS, PLACES, SECONDS_AN_HOUR, Instance, PriceBook
from millrace.schemas.yaml_file import load

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def entry(**changes: Any) -> dict[str, Any]:
    return {
        "sku": "m",
        "region": "r",
        "vcpus": 4,
        "memory_gb": 16,
        "price_per_hour": "0.2",
        "valid_from": "2026-01-01",
        "source": "test",
        **changes,
    }


def instance(**changes: Any) -> Instance:
    return Instance.model_validate(entry(**changes))


def book(*entries: dict[str, Any], **more: Any) -> PriceBook:
    return PriceBook.model_validate({"currency": "USD", "instances": entries, **more})


amounts = st.decimals(0, 10_000, places=4, allow_nan=False, allow_infinity=False)
weights = st.one_of(st.just(Decimal(0)), amounts)
nodes = st.builds(
    instance,
    price_per_hour=amounts,
    vcpus=st.integers(1, 448),
    memory_gb=st.one_of(st.just(Decimal(0)), amounts),
    gpus=st.integers(0, 16),
    core_weight=weights,
    gb_weight=weights,
    gpu_weight=weights,
)


@given(nodes)
def test_cores_memory_and_gpus_are_the_price_of_the_node_but_for_rounding(
    node: Instance,
) -> None:
    parts = node.core_second * node.vcpus + node.gb_second * node.memory_gb
    parts += node.gpu_second * node.gpus
    residual = node.node_second - parts
    assert node.node_second == (node.price_per_hour / SECONDS_AN_HOUR).quantize(PLACES)
    assert abs(residual) <= PLACES / 2 * (node.vcpus + node.memory_gb + node.gpus + 1)


@given(nodes)
def test_what_a_machine_does_not_have_costs_nothing(node: Instance) -> None:
    assert node.gpus or node.gpu_second == 0
    assert node.memory_gb or node.gb_second == 0


@given(nodes)
def test_a_core_with_its_memory_and_its_gpus_is_its_share_of_the_node(node: Instance) -> None:
    price = sum(node.per_core(meter) * node.unit_price(meter) for meter in METERS)
    rounding = PLACES * (1 + node.gb_per_core + node.gpus_per_core)
    assert abs(price * node.vcpus - node.node_second) <= rounding * node.vcpus


def test_with_no_weights_at_all_the_cores_carry_the_whole_price() -> None:
    node = instance(core_weight=0, gb_weight=0, gpu_weight=0, gpus=1, price_per_hour=3600)
    assert (node.core_second, node.gb_second, node.gpu_second) == (Decimal("0.25"), 0, 0)


def test_with_a_weight_on_gpus_alone_they_carry_the_whole_price() -> None:
    node = instance(core_weight=0, gb_weight=0, gpus=2, price_per_hour=3600)
    assert (node.core_second, node.gb_second, node.gpu_second) == (0, 0, Decimal("0.5"))


def test_a_weight_on_what_is_not_there_loses_nothing() -> None:
    node = instance(core_weight=0, gb_weight=1, gpu_weight=1, memory_gb=0, price_per_hour=3600)
    assert (node.core_second, node.gb_second, node.gpu_second) == (Decimal("0.25"), 0, 0)


@pytest.mark.parametrize(
    "said", [date(2026, 1, 1), "2026-01-01", BEGAN, "2026-01-01T02:00:00+02:00"]
)
def test_a_date_means_its_midnight_in_utc_and_a_time_is_kept_in_utc(said: Any) -> None:
    assert instance(valid_from=said).valid_from == BEGAN
    assert instance(valid_from=said).valid_from.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "said", ["2026-01-01T00:00:00", BEGAN.replace(tzinfo=None), 2026, 20260101.5, "2026", "soon"]
)
def test_a_time_without_zone_or_a_number_is_no_time(said: Any) -> None:
    with pytest.raises(ValidationError):
        instance(valid_from=said)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"valid_to": "2026-01-01"}, "valid_to must be after valid_from"),
        ({"category": "Spot"}, "'Standard', 'Dynamic' or 'Committed'"),
        ({"sku": "a/b"}, "pattern"),
        ({"price_per_hour": -1}, "greater than or equal to 0"),
        ({"price_per_hour": "NaN"}, "finite"),
        ({"vcpus": 0}, "greater than or equal to 1"),
        ({"gpus": -1}, "greater than or equal to 0"),
        ({"full_watts": 100}, "watts need a power_source"),
        ({"idle_watts": 90, "full_watts": 80, "power_source": "t"}, "at least idle_watts"),
        ({"idle_watts": -1, "power_source": "t"}, "greater than or equal to 0"),
        ({"full_watts": float("inf"), "power_source": "t"}, "finite"),
        ({"source": ""}, "at least 1 character"),
    ],
)  # fmt: skip
def test_an_entry_that_makes_no_sense_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        instance(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pue": 0.9}, "greater than or equal to 1"),
        ({"pue": float("nan")}, "finite"),
        ({"grid_g_per_kwh": -1}, "greater than or equal to 0"),
        ({"grid_g_per_kwh": 400_000}, "less than or equal to 3000"),
        ({"source": ""}, "at least 1 character"),
    ],
)
def test_a_region_has_a_grid_and_a_pue_that_can_be(change: dict[str, Any], message: str) -> None:
    region = {"grid_g_per_kwh": 380, "pue": 1.2, "source": "test"}
    assert book(entry(), regions={"r": region}).regions["r"].pue == 1.2
    with pytest.raises(ValidationError, match=message):
        book(entry(), regions={"r": {**region, **change}})


def test_a_region_that_no_instance_is_in_is_refused() -> None:
    with pytest.raises(ValidationError, match="regions that no instance is in: elsewhere"):
        book(entry(), regions={"elsewhere": {"grid_g_per_kwh": 1, "pue": 1, "source": "t"}})


moments = st.integers(0, 20).map(lambda day: BEGAN + timedelta(days=day))


@given(st.lists(st.tuples(moments, st.none() | moments), min_size=2, max_size=6))
def test_two_prices_at_the_same_time_are_refused_with_both_and_others_are_not(
    spans: list[tuple[datetime, datetime | None]],
) -> None:
    assume(all(end is None or start < end for start, end in spans))
    far = BEGAN + timedelta(days=99)
    overlap = any(
        max(a[0], b[0]) < min(a[1] or far, b[1] or far)
        for at, a in enumerate(spans)
        for b in spans[at + 1 :]
    )
    entries = [entry(valid_from=start, valid_to=end) for start, end in spans]
    if not overlap:
        assert len(book(*entries).instances) == len(spans)
        return
    with pytest.raises(ValidationError, match="two prices at the same time") as error:
        book(*entries)
    assert str(error.value).count("m in r (Standard) from 2026-01-") == 2


@pytest.mark.parametrize("change", [{"region": "q"}, {"category": "Dynamic"}, {"sku": "n"}])
def test_another_region_category_or_sku_has_a_price_of_its_own(change: dict[str, Any]) -> None:
    assert book(entry(), entry(**change))


def test_a_book_with_two_prices_at_a_time_is_refused_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "book.yaml"
    line = (
        "{sku: m, region: r, vcpus: 1, memory_gb: 1, price_per_hour: %s, valid_from: %s, source: t}"
    )
    lines = ["currency: USD", "instances:"]
    lines += [f"  - {line % values}" for values in (("1.5", "2026-01-01"), ("2.5", "2026-02-01"))]
    path.write_text("\n".join(lines))

    with pytest.raises(JobFileError) as error:
        load(path, PriceBook)

    assert str(path) in error.value.what
    assert "m in r (Standard) from 2026-01-01 on, 1.5 an hour" in error.value.what
    assert "m in r (Standard) from 2026-02-01 on, 2.5 an hour" in error.value.what


@given(st.permutations(["a", "b", "c"]))
def test_a_version_does_not_depend_on_the_order_of_entries(order: list[str]) -> None:
    assert (
        book(*[entry(sku=sku) for sku in order]).version
        == book(*[entry(sku=sku) for sku in "abc"]).version
    )


@pytest.mark.parametrize(
    "change",
    [
        {"price_per_hour": "0.3"}, {"valid_to": "2027-01-01"}, {"category": "Dynamic"}, {"gpus": 1},
        {"gpu_weight": 1}, {"source": "other"}, {"full_watts": 5, "power_source": "t"},
    ],
)  # fmt: skip
def test_a_version_changes_with_everything_that_a_book_says(change: dict[str, Any]) -> None:
    assert book(entry(**change)).version != book(entry()).version
    assert len(book(entry()).version) == 16


WATTS = {"idle_watts": 40, "full_watts": 140, "power_source": "test"}


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"gpu_idle_watts": 8, "gpu_full_watts": 48}, "on a machine with GPUs"),
        ({"gpus": 2, "gpu_idle_watts": 8}, "go together"),
        ({"gpus": 2, "gpu_idle_watts": 9, "gpu_full_watts": 8}, "at least gpu_idle_watts"),
        ({"gpus": 2, "gpu_idle_watts": 21, "gpu_full_watts": 48}, "more than"),
        ({"gpus": 2, "gpu_idle_watts": 8, "gpu_full_watts": 71}, "more than"),
        ({"gpus": 2, "gpu_idle_watts": 8, "gpu_full_watts": 48, "idle_watts": None}, "idle_watts"),
    ],
)
def test_what_gpus_draw_is_a_part_of_what_the_machine_draws(said: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        instance(**(WATTS | said))


def test_what_a_machine_and_its_gpus_draw_is_said_or_not_known() -> None:
    node = instance(**WATTS, gpus=2, gpu_idle_watts=8, gpu_full_watts=48)
    assert (node.watts, node.gpu_watts) == ((40, 140), (8, 48))
    assert (instance().watts, instance(gpus=2, **WATTS).gpu_watts) == (None, None)


def test_a_book_of_an_earlier_version_of_millrace_keeps_its_version() -> None:
    """Repricing compares it: a new field at its default must not change it."""
    assert book(entry()).version == "7706b8ff0a13c79c"
