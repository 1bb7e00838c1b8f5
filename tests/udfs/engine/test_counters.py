"""Counters in the form that Linux gives them, as files made here; no GPU is asked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.udfs.backends.gpu_usage import Gauge, GpuUse, gauge_of, together
from millrace.udfs.engine.energy_counters import (
    CpuEnergy,
    GpuEnergy,
    RaplZone,
    busy_s,
    nvml_of,
    visible,
    zones,
)
from millrace.udfs.engine.metering import Meter, TaskAttempt
from millrace.udfs.runtime.plan import Runtime

TICKS = os.sysconf("SC_CLK_TCK")


def powercap(folder: Path, **shown_uj: int) -> Path:
    """Zones as the kernel lays them out: one package in a whole platform, its memory and its cores."""
    names = {"psys": "psys", "package": "package-0", "dram": "dram", "core": "core"}
    places = {"psys": "1", "package": "0", "dram": "0:1", "core": "0:0"}
    for zone, uj in shown_uj.items():
        at = folder / f"intel-rapl:{places[zone]}"
        at.mkdir(parents=True, exist_ok=True)
        (at / "name").write_text(names[zone] + "\n")
        (at / "energy_uj").write_text(f"{uj}\n")
        (at / "max_energy_range_uj").write_text("999999\n")
    return folder


def stat(folder: Path, **spent_s: float) -> Path:
    names = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
    numbers = (str(round(spent_s.get(name, 0) * TICKS)) for name in names)
    path = folder / "stat"
    path.write_text(f"cpu  {' '.join(numbers)} 0 0\ncpu0 1 2 3\n")
    return path


def test_a_process_gets_its_share_of_packages_and_memory_by_cpu_time(tmp_path: Path) -> None:
    counters = powercap(tmp_path, package=500_000, dram=999_000, core=1, psys=5)
    cpu = stat(tmp_path, user=10, idle=99)
    found = CpuEnergy(zones(counters), cpu)
    powercap(
        tmp_path, package=900_000, dram=99_000, core=2, psys=9
    )  # the memory's has started again
    stat(tmp_path, user=11, system=2, irq=1, idle=200, steal=50)

    assert found.joules_since_last(cpu_s=1.0) == pytest.approx((0.4 + 0.1) * 1 / 4)
    assert found.joules_since_last(cpu_s=1.0) == 0.0


def test_a_share_is_never_more_than_all_though_the_machine_s_clock_is_coarse(
    tmp_path: Path,
) -> None:
    cpu = stat(tmp_path, user=1)
    found = CpuEnergy(zones(powercap(tmp_path, package=0)), cpu)
    powercap(tmp_path, package=700_000)

    assert found.joules_since_last(cpu_s=0.004) == pytest.approx(0.7)


def test_without_a_counter_that_may_be_read_there_are_no_joules(tmp_path: Path) -> None:
    assert zones(tmp_path) == []
    assert CpuEnergy(zones(tmp_path)).joules_since_last(1.0) is None
    (powercap(tmp_path, package=1) / "intel-rapl:0" / "energy_uj").unlink()
    assert zones(tmp_path) == []


@given(st.integers(0, 999_999), st.integers(0, 999_999))
def test_a_counter_that_started_again_has_grown_by_what_is_missing(before: int, more: int) -> None:
    zone = RaplZone(Path("none"), 999_999)
    assert zone.grown_uj(before, (before + more) % 1_000_000) == more


def test_the_machines_cpu_time_is_that_of_all_its_processes() -> None:
    before = busy_s()
    used = sum(os.times()[:2])
    while sum(os.times()[:2]) - used < 0.2:
        pass
    assert busy_s() - before >= 0.2 - 2 / TICKS


@pytest.mark.parametrize(
    ("device", "mask", "name"),
    [("cuda", None, "0"), ("cuda:1", None, "1"), ("cuda:1", "3,GPU-5f", "GPU-5f"), ("cuda", "2", "2")],
)  # fmt: skip
def test_a_device_is_found_by_what_cuda_may_see(device: str, mask: str | None, name: str) -> None:
    assert visible(device, mask) == name


def test_on_a_cpu_nothing_of_a_gpu_is_known_and_nothing_is_zero() -> None:
    assert gauge_of(Runtime("cpu")) is None
    assert gauge_of(Runtime("cuda", backend="onnxruntime")) is None  # not on torch's streams
    assert nvml_of("cpu") is None
    meter = Meter(TaskAttempt())
    meter.watch("cpu")
    reading = meter.take(size_bytes=1)
    assert reading["gpu_joules"] is None


class Lap:
    """A moment by a clock of two ticks a reading: what an event is, of no device."""

    ticks = 0

    def record(self) -> None:
        Lap.ticks += 2
        self.at = Lap.ticks

    def synchronize(self) -> None:
        assert self.at

    def elapsed_time(self, later: Lap) -> float:
        return float(later.at - self.at)


def test_a_gauge_sums_its_calls_and_begins_anew_once_they_are_taken() -> None:
    memory = iter([100, 70])
    gauge = Gauge(Lap, lambda: next(memory))
    for _ in range(3):
        with gauge.call():
            pass

    assert gauge.usage_since_last() == GpuUse(0.006, 100)
    assert gauge.usage_since_last() is None  # no call, so there is nothing that is zero
    with pytest.raises(ZeroDivisionError), gauge.call():
        _ = 1 / 0
    assert gauge.usage_since_last() is None


@given(st.floats(0, 1e4), st.lists(st.integers(1, 10**6), min_size=1, max_size=9))
def test_questions_that_were_computed_together_share_the_time_by_their_rows(
    busy_s: float, rows: list[int]
) -> None:
    shares = GpuUse(busy_s, 7).shares(rows)

    whole = together(shares)
    assert whole is not None
    assert whole.busy_s == pytest.approx(busy_s)
    assert whole.memory_bytes == 7
    assert [one.busy_s * sum(rows) for one in shares] == pytest.approx([busy_s * n for n in rows])
    assert together([]) is None


def test_a_card_s_counter_counts_from_where_it_was() -> None:
    class Counter:
        shown = 5000.0

        def joules(self) -> float:
            return self.shown

    counter = Counter()
    card = GpuEnergy(counter)
    counter.shown = 5012.5

    assert card.joules_since_last() == 12.5
    assert card.joules_since_last() == 0.0
    assert GpuEnergy(None).joules_since_last() is None


@pytest.mark.gpu
def test_a_model_on_a_gpu_says_how_long_it_was_busy_and_what_it_held() -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    gauge = gauge_of(Runtime("cuda"))
    assert gauge is not None
    with gauge.call():
        big = torch.ones(4096, 4096, device="cuda")
        (big @ big).cpu()
    found = gauge.usage_since_last()
    assert found is not None
    assert found.busy_s > 0
    assert found.memory_bytes >= 2 * big.nbytes
