from __future__ import annotations

import os
import time
from contextlib import suppress

import pytest

from millrace.schemas.tables import METER
from millrace.udfs.engine.metering import LAPS, Meter, TaskAttempt


def take(meter: Meter, rows: int = 1) -> dict[str, object]:
    return meter.take(
        device="cpu",
        backend="torch",
        precision="fp32",
        rows=rows,
        failed=0,
        model_batches=1,
        tokens=None,
        tokens_computed=None,
        tokens_out=None,
        too_large=None,
        gpu_busy_s=None,
        gpu_memory_bytes=None,
        size_bytes=1,
    )


def test_a_reading_has_every_field_of_the_meter_column_and_no_other() -> None:
    assert set(take(Meter(TaskAttempt()))) == {column.name for column in METER}


def test_laps_are_those_fields_that_are_said_to_be_of_wall_s() -> None:
    assert set(LAPS) == {c.name for c in METER if c.comment.startswith("of wall_s")}


def test_wall_times_of_successive_readings_sum_to_the_time_that_passed() -> None:
    moments = iter([100.0, 100.0, 101.5, 103.0, 110.0])
    meter = Meter(TaskAttempt(), clock=lambda: next(moments))

    walls = [take(meter)["wall_s"] for _ in range(3)]

    assert walls == pytest.approx([1.5, 1.5, 7.0])


def test_laps_never_exceed_wall_and_start_anew_with_each_reading() -> None:
    meter = Meter(TaskAttempt())
    with meter.lap("compute_s"):
        time.sleep(0.02)
    first = take(meter)
    second = take(meter)

    assert first["compute_s"] == pytest.approx(0.02, abs=0.02)
    assert sum(float(str(first[lap])) for lap in LAPS) <= float(str(first["wall_s"])) + 0.001
    assert [second[lap] for lap in LAPS] == [0.0] * len(LAPS)


def test_a_lap_counts_the_time_of_work_that_raised() -> None:
    meter = Meter(TaskAttempt())
    with suppress(ZeroDivisionError), meter.lap("load_s"):
        time.sleep(0.02)
        _ = 1 / 0

    assert float(str(take(meter)["load_s"])) >= 0.02


def test_a_clock_that_began_before_counts_the_time_until_now_as_startup() -> None:
    reading = take(Meter(TaskAttempt(), since=time.time() - 2))

    assert reading["startup_s"] == pytest.approx(2, abs=0.1)
    assert reading["wall_s"] == pytest.approx(2, abs=0.1)


def test_cpu_seconds_are_those_of_this_process() -> None:
    meter = Meter(TaskAttempt())
    started = time.process_time()
    while time.process_time() - started < 0.1:
        pass

    assert take(meter)["cpu_s"] == pytest.approx(0.1, abs=0.05)


def test_a_reading_says_where_and_by_whom_it_was_taken() -> None:
    place = TaskAttempt("app", 1, 2, 3, 4, "host")

    reading = take(Meter(place))

    assert {name: reading[name] for name in vars(place)} == vars(place)
    assert reading["pid"] == os.getpid()
    assert int(str(reading["peak_rss_bytes"])) > 1 << 20
