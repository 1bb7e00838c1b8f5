"""What a row draws: by counters, by load, by a constant; and how one counter is shared by several tasks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.pipelines.accounting.energy import BANDS, Used, columns, shared
from millrace.schemas.prices import Instance, Region
from tests.ledgers import entry

WATTS = {"idle_watts": 40, "full_watts": 140, "power_source": "test"}  # of 4 cores: 10 to 35 each
GPU = {"gpus": 2, "gpu_idle_watts": 8, "gpu_full_watts": 48}  # of these 40 and 140: 16 and 96
GRID = Region(grid_g_per_kwh=250, pue=1.2, source="the grid's yearly mean, 2025")
HOUR_S = 3600.0


def machine(**changes: Any) -> Instance:
    return Instance.model_validate(entry(**changes))


def wh(used: Used, core_s: float, one: Instance) -> tuple[float, str]:
    found = columns(used, core_s, one, None)
    return found["x_EnergyWh"], found["x_EnergyMethod"]


def test_a_load_is_between_idle_and_at_work() -> None:
    one = machine(**WATTS)
    assert wh(Used(cpu_s=0.0), HOUR_S, one) == (10, "tdp")
    assert wh(Used(cpu_s=HOUR_S), HOUR_S, one) == (35, "tdp")
    assert wh(Used(cpu_s=HOUR_S / 5), HOUR_S, one) == (15, "tdp")
    assert wh(Used(cpu_s=9 * HOUR_S), HOUR_S, one) == (35, "tdp")  # a core is one core


def test_without_a_load_it_is_the_middle_and_without_watts_a_constant_a_core() -> None:
    assert wh(Used(), HOUR_S, machine(**WATTS)) == (22.5, "constant")
    assert wh(Used(cpu_s=HOUR_S), HOUR_S, machine()) == (2.1, "constant")


def test_a_counter_is_believed_before_watts() -> None:
    used = Used(cpu_s=HOUR_S, cpu_joules=36_000.0)
    assert wh(used, HOUR_S, machine(**WATTS)) == (10, "rapl")
    assert wh(used, HOUR_S, machine()) == (10, "rapl")


def test_a_machine_with_gpus_is_as_sure_as_its_weakest_part() -> None:
    one, gpu_s = machine(**WATTS, **GPU), HOUR_S / 4  # half of a GPU is held with each core
    both = Used(cpu_s=0.0, cpu_joules=3600.0, gpu_s=gpu_s, gpu_joules=7200.0)
    assert wh(both, HOUR_S, one) == (3, "rapl")
    card = Used(cpu_s=0.0, gpu_s=gpu_s, gpu_joules=7200.0)
    assert wh(card, HOUR_S, one) == (2 + (40 - 16) / 4, "tdp")
    none = Used(cpu_s=0.0, gpu_s=gpu_s)
    assert wh(none, HOUR_S, one) == (6 + 8 / 2 + 40 / 4, "tdp")
    assert wh(Used(cpu_s=0.0), HOUR_S, one) == (6 + (8 + 48) / 2 / 2, "constant")


def test_where_a_book_does_not_tell_gpus_apart_the_busiest_part_is_the_load() -> None:
    one = machine(**WATTS, gpus=2)
    assert wh(Used(cpu_s=0.0, gpu_s=HOUR_S / 4), HOUR_S, one) == (22.5, "tdp")
    assert wh(Used(cpu_s=HOUR_S, gpu_s=0.0), HOUR_S, one) == (35, "tdp")


def test_what_cannot_be_said_is_null_and_never_zero() -> None:
    assert columns(Used(cpu_s=1.0), 1.0, machine(gpus=1), GRID) == {}
    found = columns(Used(cpu_s=1.0), 1.0, machine(**WATTS), None)
    assert not {"x_CarbonG", "x_IntensitySource"} & set(found)


def test_carbon_is_energy_times_pue_times_the_grids_intensity() -> None:
    found = columns(Used(cpu_s=0.0), HOUR_S, machine(**WATTS), GRID)
    assert found["x_CarbonG"] == pytest.approx(0.010 * 1.2 * 250)
    assert found["x_IntensitySource"] == GRID.source


PARTS = st.one_of(st.none(), st.floats(0, 1e5))
MACHINES = st.sampled_from([{}, WATTS, {**WATTS, "gpus": 2}, {**WATTS, **GPU}])


@given(st.builds(Used, PARTS, PARTS, PARTS, PARTS), st.floats(0, 1e6), MACHINES)
def test_bounds_are_the_methods_own_around_what_is_said(
    used: Used, core_s: float, about: dict[str, Any]
) -> None:
    found = columns(used, core_s, machine(**about), GRID)

    said, band = found["x_EnergyWh"], BANDS[found["x_EnergyMethod"]]
    assert said >= 0
    assert found["x_EnergyWhLow"] == pytest.approx(said * (1 - band), abs=1e-8)
    assert found["x_EnergyWhHigh"] == pytest.approx(said * (1 + band), abs=1e-8)


@given(st.builds(Used, PARTS, PARTS, PARTS, PARTS), st.lists(st.floats(0, 1), max_size=6), MACHINES)
def test_parts_of_a_stretch_draw_what_the_whole_draws(
    used: Used, cuts: list[float], about: dict[str, Any]
) -> None:
    """Where no part is fuller than full: what a core's second cannot hold is no one's."""
    core_s, edges = 2e5, [0.0, *sorted(cuts), 1.0]
    one = machine(**about)
    shares = [after - before for before, after in pairwise(edges)]

    parts = [columns(used.part(share), core_s * share, one, GRID) for share in shares]

    whole = columns(used, core_s, one, GRID)
    for name in ("x_EnergyWh", "x_CarbonG"):
        assert sum(part[name] for part in parts) == pytest.approx(whole[name], abs=1e-7)
    assert {part["x_EnergyMethod"] for part in parts} == {whole["x_EnergyMethod"]}


def meter(
    began_s: float, wall_s: float, busy_s: float | None, joules: float | None
) -> dict[str, Any]:
    began = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=began_s)
    return {"executor": "node", "device": "cuda:0", "started_at": began, "wall_s": wall_s,
            "gpu_busy_s": busy_s, "gpu_joules": joules}  # fmt: skip


def joules(*meters: dict[str, Any]) -> list[float | None]:
    return [one["gpu_joules"] for one in shared(meters)]


def test_who_was_alone_on_a_gpu_has_all_that_it_counted() -> None:
    assert joules(meter(0, 10, 2, 900.0)) == [pytest.approx(900)]
    assert joules(meter(0, 10, 2, 900.0), meter(10, 5, 1, 300.0)) == pytest.approx([900, 300])


def test_who_shares_a_gpu_shares_what_it_counted_by_the_time_it_was_busy() -> None:
    assert joules(meter(0, 10, 6, 900.0), meter(0, 10, 3, 900.0)) == pytest.approx([600, 300])
    there, elsewhere = meter(0, 10, 6, 900.0), meter(0, 10, 3, 900.0) | {"device": "cuda:1"}
    assert joules(there, elsewhere) == pytest.approx([900, 900])
    long, short = meter(0, 20, 4, 1000.0), meter(10, 10, 2, 700.0)
    assert joules(long, short) == pytest.approx([1000 * 4 / 6, 700 * 2 / 4])


def test_without_a_counter_or_a_clock_there_is_nothing_to_share() -> None:
    assert joules(meter(0, 1, None, 5.0), meter(0, 1, 1.0, None), meter(0, 0, 0.0, 0.0)) == [
        None, None, 0.0,
    ]  # fmt: skip


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=8), st.floats(1, 1e4))
def test_tasks_side_by_side_have_together_what_the_counter_counted(
    busy_ms: list[int], counted: float
) -> None:
    found = joules(*(meter(0, 5, one / 1000, counted) for one in busy_ms))

    total = sum(one or 0.0 for one in found)
    assert total == pytest.approx(counted if any(busy_ms) else 0.0)
