from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from millrace.schemas.errors import RunFailed
from millrace.udfs.host.address import HostSpec, born, executor_pid
from millrace.udfs.host.election import read_address
from tests.udfs.host.test_host import (
    assert_equal_to_direct,
    hosts_in,
    lease,
    models,
    place,
    start_client,
)

__all__ = ["models", "place"]  # fixtures

ASK = np.zeros((2, 4, 4), np.uint8)
SOON_S = 10.0
STREAM_ROWS = 6000  # 150 windows
AHEAD = 4  # windows that a client may go on with when a host is killed


def within(seconds: float, is_so: Callable[[], bool]) -> bool:
    until = time.monotonic() + seconds
    while not is_so() and time.monotonic() < until:
        time.sleep(0.02)
    return is_so()


def pid_of(place: HostSpec) -> int:
    address = read_address(place.directory)
    assert address is not None
    pid: int = address["pid"]
    return pid


def killed(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    assert within(SOON_S, lambda: not psutil.pid_exists(pid) or _is_zombie(pid))


def _is_zombie(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


# one host


def test_clients_that_start_together_elect_one_host(
    models: dict[str, Path], place: HostSpec, tmp_path: Path
) -> None:
    clients = [
        start_client(models["pixels"], "pixels", place, tmp_path / f"{n}.parquet", n, rows=10)
        for n in range(4)
    ]

    seen: set[int] = set()
    while any(client.poll() is None for client in clients):
        seen |= {process.pid for process in hosts_in(place.folder)}
        time.sleep(0.05)

    assert [client.communicate() and client.returncode for client in clients] == [0] * 4
    assert len(seen) == 1


def test_a_dead_hosts_address_is_replaced_by_the_next_one(
    models: dict[str, Path], place: HostSpec
) -> None:
    lease(models["pixels"], place).close()
    first = pid_of(place)
    killed(first)

    again = lease(models["pixels"], place)

    assert len(again.predict(ASK)["label"]) == 2
    assert pid_of(place) != first
    sockets = [path.name for path in place.directory.iterdir() if path.is_socket()]
    assert sockets == [f"s{pid_of(place)}"]


def test_an_elector_that_dies_holding_the_lock_does_not_keep_it(
    models: dict[str, Path], place: HostSpec, tmp_path: Path
) -> None:
    client = start_client(models["pixels"], "pixels", place, tmp_path / "out", 0)
    assert within(6 * SOON_S, (place.directory / "log").exists)
    client.kill()
    client.communicate()

    model = lease(models["pixels"], place)

    assert len(model.predict(ASK)["label"]) == 2


# a host that dies


class Stream:
    """A client and how many windows it has got through, read as they come."""

    def __init__(self, client: subprocess.Popen[str]) -> None:
        self.client, self.windows = client, 0
        self._reader = threading.Thread(target=self._count)
        self._reader.start()

    def _count(self) -> None:
        assert self.client.stdout is not None
        with self.client.stdout as lines:
            for _ in lines:
                self.windows += 1

    def allow(self, windows: int) -> None:
        """Let the client score so many more windows."""
        assert self.client.stdin is not None
        self.client.stdin.write("\n" * windows)
        self.client.stdin.flush()

    def moved(self, by: int) -> bool:
        """Whether so many more windows got through soon."""
        goal = self.windows + by
        return within(6 * SOON_S, lambda: self.windows >= goal)

    def end(self) -> int:
        assert self.client.stdin is not None
        self.client.stdin.close()  # the rest is scored
        code = self.client.wait()
        self._reader.join()
        return code


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_hosts_killed_in_the_middle_of_streams_lose_and_double_no_row(
    models: dict[str, Path], place: HostSpec, tmp_path: Path, seed: int
) -> None:
    drawn = random.Random(seed)
    sizes = {"rows": STREAM_ROWS, "batch_rows": 8, "window_rows": 40, "paced": True}
    streams = {
        kind: Stream(start_client(models[kind], kind, place, tmp_path / kind, seed, **sizes))
        for kind in ("pixels", "text")
    }
    victims = []
    for kind in drawn.choices(["pixels", "text"], k=3):
        by = drawn.randint(2, 6)
        for stream in streams.values():
            stream.allow(by + AHEAD)
        assert streams[kind].moved(by)
        time.sleep(drawn.uniform(0, 0.02))
        victims.append(pid_of(place))
        killed(victims[-1])
        assert all(stream.client.poll() is None for stream in streams.values())

    assert [stream.end() for stream in streams.values()] == [0, 0]
    assert len({*victims, pid_of(place)}) == 4
    for kind in streams:
        assert_equal_to_direct(tmp_path / kind, models[kind], kind, seed, STREAM_ROWS)


def test_a_question_that_kills_every_host_is_given_up(
    models: dict[str, Path], place: HostSpec
) -> None:
    model = lease(models["pixels"], replace(place, deaths=1))
    killed(pid_of(place))

    with pytest.raises(RunFailed, match="died 1 times over the same work"):
        model.predict(ASK)


# a client that dies


def test_a_client_that_is_killed_ends_its_lease_and_what_it_asked_for_is_dropped(
    models: dict[str, Path], place: HostSpec, tmp_path: Path
) -> None:
    brief = replace(place, idle_s=1.0)
    client = start_client(
        models["text"], "text", brief, tmp_path / "out", 0, rows=20_000, batch_rows=2
    )
    assert client.stdout is not None
    assert client.stdout.readline() == "64\n"
    other = lease(models["pixels"], brief)

    client.kill()
    client.communicate()

    assert within(SOON_S, lambda: other.outstanding() == 0)
    assert len(other.predict(ASK)["label"]) == 2
    other.close()
    assert within(SOON_S, lambda: hosts_in(place.folder) == [])


# the end


def test_a_host_without_a_client_ends_and_one_with_a_client_does_not(
    models: dict[str, Path], place: HostSpec
) -> None:
    model = lease(models["pixels"], replace(place, idle_s=0.5))
    time.sleep(1.5)
    assert len(hosts_in(place.folder)) == 1

    model.close()

    assert within(SOON_S, lambda: hosts_in(place.folder) == [])
    assert sorted(path.name for path in place.directory.iterdir()) == ["lock", "log"]


def test_a_lease_ends_when_nothing_refers_to_the_model_any_more(
    models: dict[str, Path], place: HostSpec
) -> None:
    lease(models["pixels"], replace(place, idle_s=0.2))

    assert within(SOON_S, lambda: hosts_in(place.folder) == [])


def test_a_client_comes_back_after_its_host_was_idle_for_too_long(
    models: dict[str, Path], place: HostSpec
) -> None:
    lease(models["pixels"], replace(place, idle_s=0.2)).close()
    assert within(SOON_S, lambda: hosts_in(place.folder) == [])

    assert len(lease(models["pixels"], place).predict(ASK)["label"]) == 2


def test_no_host_is_left_when_its_executor_is_killed_though_it_computes_for_a_client(
    models: dict[str, Path], place: HostSpec, tmp_path: Path
) -> None:
    executor = subprocess.Popen(["sleep", "600"])
    theirs = replace(place, owner=executor.pid)
    client = start_client(
        models["text"], "text", theirs, tmp_path / "out", 0, rows=20_000, batch_rows=2
    )
    assert client.stdout is not None
    assert client.stdout.readline() == "64\n"
    (host,) = hosts_in(place.folder)
    directory = theirs.directory

    executor.kill()
    executor.wait()

    _, alive = psutil.wait_procs([host], timeout=SOON_S)
    client.kill()
    client.communicate()
    assert alive == []
    assert not directory.exists()


def test_a_process_under_no_executor_says_what_is_above_it() -> None:
    with pytest.raises(RunFailed, match="no Spark executor") as caught:
        executor_pid()

    assert psutil.Process().parent().name() in str(caught.value.got)


def test_a_process_and_another_born_later_are_not_the_same_owner() -> None:
    started = subprocess.Popen(["sleep", "600"])
    try:
        assert born(started.pid) >= born(os.getpid())
    finally:
        started.kill()
        started.wait()
