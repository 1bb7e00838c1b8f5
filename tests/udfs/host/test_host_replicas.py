from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from helpers import image_table, images, loaded, pixel_mlp
from hypothesis import given
from hypothesis import strategies as st

from millrace.schemas.errors import RunFailed
from millrace.udfs.engine.metering import Meter, TaskAttempt
from millrace.udfs.engine.scoring import score
from millrace.udfs.host.address import HostSpec
from millrace.udfs.host.devices import devices
from millrace.udfs.host.replicas import Replicas, least_outstanding, round_robin
from millrace.udfs.runtime.plan import Plan
from tests.udfs.host.test_host import hosts_in, lease, place
from tests.udfs.host.test_host_lifetime import pid_of

__all__ = ["place"]  # a fixture

ASK = np.zeros((2, 4, 4), np.uint8)


@pytest.fixture
def places(place: HostSpec) -> list[HostSpec]:
    """Two hosts of one owner."""
    return [replace(place, folder=place.folder / name) for name in ("a", "b")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return pixel_mlp(tmp_path / "mlp")


@pytest.fixture
def uneven(folder: Path, places: list[HostSpec]) -> Iterator[list[HostSpec]]:
    """The first of the two hosts stands still while the test runs: as slow as can be."""
    keepers = [lease(folder, one) for one in places]
    os.kill(pid_of(places[0]), signal.SIGSTOP)
    yield places
    os.kill(pid_of(places[0]), signal.SIGCONT)
    del keepers


def answered(model: Replicas, threads: int, seconds: float, resume: int) -> int:
    """How many questions threads together got answered while the first host stood still."""
    ends, counts = time.monotonic() + seconds, [0] * threads

    def ask(number: int) -> None:
        while time.monotonic() < ends:
            model.predict(ASK)
            counts[number] += 1

    with ThreadPoolExecutor(threads) as pool:
        asking = [pool.submit(ask, number) for number in range(threads)]
        time.sleep(seconds)
        before = sum(counts)
        os.kill(resume, signal.SIGCONT)
        for one in asking:
            one.result()
    return before


def test_a_replica_that_stands_still_holds_nobody_back_where_the_least_busy_is_asked(
    folder: Path, uneven: list[HostSpec]
) -> None:
    model = Replicas([lease_while_stopped(folder, one, uneven) for one in uneven])

    count = answered(model, 3, 1.5, pid_of(uneven[0]))

    assert count > 20  # two of three threads went on; one waits for the replica that stands still


def test_in_turn_a_replica_that_stands_still_holds_everybody_back(
    folder: Path, uneven: list[HostSpec]
) -> None:
    replicas = [lease_while_stopped(folder, one, uneven) for one in uneven]
    model = Replicas(replicas, "round_robin")

    count = answered(model, 3, 1.5, pid_of(uneven[0]))

    assert count <= 6  # each thread at most one or two, until it is the other's turn


def lease_while_stopped(folder: Path, one: HostSpec, places: list[HostSpec]):  # type: ignore[no-untyped-def]
    """A lease on a host that may be standing still: it goes on for as long as that takes."""
    os.kill(pid_of(places[0]), signal.SIGCONT)
    model = lease(folder, one)
    model.predict(ASK)
    os.kill(pid_of(places[0]), signal.SIGSTOP)
    return model


def test_work_that_other_processes_gave_a_host_counts(folder: Path, places: list[HostSpec]) -> None:
    mine = Replicas([lease(folder, one) for one in places])
    other = lease(folder, places[0])
    busy = threading.Thread(
        target=lambda: [other.predict(np.zeros((200_000, 4, 4), np.uint8)) for _ in range(3)]
    )
    busy.start()
    until = time.monotonic() + 5
    while other.outstanding() == 0 and time.monotonic() < until:
        time.sleep(0.001)

    work = mine._work()
    busy.join()

    assert work[0] >= 200_000
    assert work[1] == 0
    assert mine._work() == [0, 0]


@pytest.mark.parametrize("route", ["least_outstanding", "round_robin"])
def test_rows_come_back_in_order_and_right_from_several_replicas(
    folder: Path, places: list[HostSpec], route: str
) -> None:
    model = Replicas([lease(folder, one) for one in places], route)
    table, plan = image_table(images(333)), Plan(("pixels",), ("id",), batch_rows=10)

    def scored(which: object) -> pa.Table:
        made = score(table.to_batches(), lambda: which, plan, Meter(TaskAttempt()))  # type: ignore[arg-type,return-value]
        return pa.Table.from_batches(made)

    found, expected = scored(model), scored(loaded(folder))

    assert found["id"].to_pylist() == list(range(333))
    assert found["label"].equals(expected["label"])
    assert np.allclose(found["score"], expected["score"], atol=1e-5)
    assert model.device == "cpu,cpu"
    assert len({pid_of(one) for one in places}) == 2
    assert all(len(hosts_in(one.folder)) == 1 for one in places)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.data())
def test_the_least_busy_is_one_with_the_least_to_do_and_equals_take_turns(
    work: list[int], data: st.DataObject
) -> None:
    last = data.draw(st.integers(0, len(work) - 1))

    chosen = least_outstanding(work, last)

    assert work[chosen] == min(work)
    if len(set(work)) == 1:
        assert chosen == round_robin(work, last) == (last + 1) % len(work)


# devices


@pytest.mark.parametrize(
    ("requested", "addresses", "count", "expected"),
    [
        ("auto", [], 0, ("cpu",)),
        ("cpu", ["0"], 2, ("cpu",)),
        ("auto", [], 3, ("cuda:0", "cuda:1", "cuda:2")),
        ("cuda", [], 2, ("cuda:0", "cuda:1")),
        ("auto", ["1"], 2, ("cuda:1",)),
        ("cuda", ["1", "0"], 2, ("cuda:1", "cuda:0")),
        ("cuda:1", [], 2, ("cuda:1",)),
        ("cuda:1", ["0", "1"], 2, ("cuda:1",)),
    ],
)
def test_a_worker_uses_the_devices_that_its_task_was_given(
    requested: str, addresses: list[str], count: int, expected: tuple[str, ...]
) -> None:
    assert devices(requested, addresses, count) == expected


@pytest.mark.parametrize(
    ("requested", "addresses", "count"),
    [
        ("cuda", [], 0),
        ("cuda", ["0"], 0),
        ("auto", ["0"], 0),  # Spark gave one and this process does not see it: not the CPU instead
        ("auto", ["2"], 2),
        ("cuda:2", [], 2),
        ("cuda:0", ["1"], 2),
        ("cuda", ["GPU-5f3c"], 2),
    ],
)
def test_a_device_that_is_not_there_or_not_the_tasks_is_refused(
    requested: str, addresses: list[str], count: int
) -> None:
    with pytest.raises(RunFailed) as caught:
        devices(requested, addresses, count)

    assert caught.value.got is not None
    assert caught.value.next is not None
