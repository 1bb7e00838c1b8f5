"""The claim of a run: real processes on a real folder, killed and stopped."""

from __future__ import annotations

import json
import multiprocessing as mp
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest

from millrace.pipelines.lake import run_lock
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.lake.lock_holder import FREE, HELD, latest, me
from millrace.pipelines.lake.run_lock import LeaseTimes, claimed, holders
from millrace.schemas.errors import ClaimHeld, ClaimLost, RunFailed

FINGERPRINT = "ab" * 32
ROUNDS, DRIVERS = 50, 4
QUICK = LeaseTimes(expires_s=1.5, beat_s=0.1)
RACE = LeaseTimes(expires_s=5.0, beat_s=0.05)  # a busy machine may hold a process up for seconds


def folder_of(lake: Path) -> Path:
    return lake / "_claims" / run_lock.key(FINGERPRINT)


def drive(lake: Path, notes: Path, barrier: Barrier, rounds: int, lease: LeaseTimes) -> None:
    """A driver that wants the claim again and again, and notes when it has it."""
    line = os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for _ in range(rounds):
        barrier.wait()
        try:
            with claimed(LakeLocation(lake), FINGERPRINT, str(os.getpid()), lease=lease) as ours:
                os.write(line, f"enter {os.getpid()}\n".encode())
                time.sleep(0.02)
                ours.check()
                os.write(line, f"leave {os.getpid()}\n".encode())
        except ClaimHeld:
            os.write(line, b"held\n")


def hold(lake: Path, notes: Path, lease: LeaseTimes) -> None:
    """A driver that keeps its claim for as long as it may, and notes how that ended."""
    with claimed(LakeLocation(lake), FINGERPRINT, "long", lease=lease) as ours:
        notes.write_text("holds")
        while True:
            time.sleep(0.05)
            try:
                ours.check()
            except ClaimLost as lost:
                notes.write_text(json.dumps(lost.as_json()))
                raise SystemExit(lost.exit_code) from lost


def race(tmp: Path, rounds: int, lease: LeaseTimes) -> list[str]:
    notes, spawn = tmp / "notes", mp.get_context("spawn")
    barrier = spawn.Barrier(DRIVERS)
    drivers = [
        spawn.Process(target=drive, args=(tmp / "lake", notes, barrier, rounds, lease))
        for _ in range(DRIVERS)
    ]
    for driver in drivers:
        driver.start()
    for driver in drivers:
        driver.join(120)
    assert [driver.exitcode for driver in drivers] == [0] * DRIVERS
    return notes.read_text().splitlines()


def most_at_once(lines: list[str]) -> int:
    inside, most = set(), 0
    for what, _, who in (line.partition(" ") for line in lines):
        if what == "enter":
            inside.add(who)
        inside.discard(who if what == "leave" else "")
        most = max(most, len(inside))
    return most


@contextmanager
def other_driver(
    tmp: Path, lease: LeaseTimes = QUICK, target: Callable[..., None] = hold
) -> Iterator[Any]:
    """Another process that holds the claim."""
    notes = tmp / "notes"
    process = mp.get_context("spawn").Process(target=target, args=(tmp / "lake", notes, lease))
    process.start()
    try:
        wait_for(lambda: notes.exists() and notes.read_text() == "holds")
        yield process
    finally:
        if process.is_alive():
            os.kill(process.pid or 0, signal.SIGKILL)
        process.join()


def wait_for(happens: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)


def test_of_four_drivers_one_has_the_claim_at_a_time(tmp_path: Path) -> None:
    lines = race(tmp_path, ROUNDS, RACE)

    assert most_at_once(lines) == 1
    entered = [line for line in lines if line.startswith("enter")]
    assert ROUNDS <= len(entered) <= ROUNDS * DRIVERS
    assert len(entered) + lines.count("held") == ROUNDS * DRIVERS
    assert len(list(folder_of(tmp_path / "lake").iterdir())) <= 2  # the last claim, and its release


def test_without_the_lease_the_same_race_overlaps(tmp_path: Path) -> None:
    assert most_at_once(race(tmp_path, 5, replace(RACE, is_on=False))) > 1


def test_a_claim_that_is_held_is_refused_with_who_holds_it(tmp_path: Path) -> None:
    told: list[str] = []
    with (
        other_driver(tmp_path) as other,
        pytest.raises(ClaimHeld) as refused,
        claimed(
            LakeLocation(tmp_path / "lake"), FINGERPRINT, "second", watch=told.append, lease=QUICK
        ),
    ):
        pytest.fail("two have it")

    assert refused.value.exit_code == 6
    assert refused.value.got is not None
    assert f"run long in process {other.pid} on {os.uname().nodename}" in refused.value.got
    assert f"stop process {other.pid}" in (refused.value.next or "")
    assert [line.count("waiting 1.5 s at most") for line in told] == [1]


def test_a_killed_driver_is_followed_at_once(tmp_path: Path) -> None:
    with other_driver(tmp_path) as other:
        os.kill(other.pid, signal.SIGKILL)
        wait_for(lambda: Path(f"/proc/{other.pid}/stat").read_text().split()[2] == "Z")
        started = time.monotonic()
        with claimed(
            LakeLocation(tmp_path / "lake"), FINGERPRINT, "next"
        ) as ours:  # the lease of 60 s
            assert ours.holder.number == 2
        assert time.monotonic() - started < 30


def test_a_stopped_driver_loses_its_claim_and_is_told_so(tmp_path: Path) -> None:
    with other_driver(tmp_path) as other:
        os.kill(other.pid, signal.SIGSTOP)
        with claimed(LakeLocation(tmp_path / "lake"), FINGERPRINT, "next", lease=QUICK) as ours:
            os.kill(other.pid, signal.SIGCONT)
            other.join(60)
            assert other.exitcode == 6
            ours.check()
        lost = json.loads((tmp_path / "notes").read_text())

    assert lost["exit_code"] == 6
    assert "run next in process" in lost["got"]
    with claimed(LakeLocation(tmp_path / "lake"), FINGERPRINT, "third") as third:
        assert third.holder.number == 3


@pytest.mark.parametrize("shift_s", [-10 * 365 * 86400, 10 * 365 * 86400])
def test_a_wrong_clock_changes_nothing(tmp_path: Path, shift_s: int) -> None:
    def shift() -> None:
        for path in folder_of(tmp_path / "lake").glob("*"):
            try:
                os.utime(path, (time.time() + shift_s,) * 2)
            except FileNotFoundError:  # its next beat has replaced it
                continue

    with other_driver(tmp_path) as other:
        path = folder_of(tmp_path / "lake") / "1.json"
        path.write_text(
            json.dumps(json.loads(path.read_text()) | {"since": f"{2026 + shift_s // 31536000}"})
        )
        shift()
        with (
            pytest.raises(ClaimHeld),
            claimed(LakeLocation(tmp_path / "lake"), FINGERPRINT, "next", lease=QUICK),
        ):
            pytest.fail("two have it")
        os.kill(other.pid, signal.SIGKILL)
        other.join()
        shift()
        with claimed(LakeLocation(tmp_path / "lake"), FINGERPRINT, "next", lease=QUICK) as ours:
            shift()
            ours.check()


def elsewhere(lake: Path) -> Path:
    """A claim whose holder this machine cannot ask after."""
    folder = folder_of(lake)
    folder.mkdir(parents=True)
    holder = replace(me(7, FINGERPRINT, "far"), host="far", place="far boot")
    (folder / "7.json").write_text(json.dumps(asdict(holder)))
    return holder.mark(folder, "beat")


def test_a_silent_driver_elsewhere_is_followed_after_its_lease(tmp_path: Path) -> None:
    elsewhere(tmp_path)
    started = time.monotonic()

    with claimed(LakeLocation(tmp_path), FINGERPRINT, "next", lease=QUICK) as ours:
        assert time.monotonic() - started >= QUICK.expires_s
        assert ours.holder.number == 8


def test_a_driver_elsewhere_that_beats_keeps_its_claim(tmp_path: Path) -> None:
    beat = elsewhere(tmp_path)
    threading.Timer(0.3, beat.write_text, args=["1"]).start()

    with pytest.raises(ClaimHeld, match="run far in process"):  # noqa: SIM117 - the with is what raises
        with claimed(LakeLocation(tmp_path), FINGERPRINT, "next", lease=QUICK):
            pytest.fail("two have it")


def test_a_process_id_that_was_used_again_is_not_the_holder(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    folder.mkdir(parents=True)
    (folder / "1.json").write_text(
        json.dumps(asdict(me(1, FINGERPRINT, "before")) | {"started": "1"})
    )

    with claimed(LakeLocation(tmp_path), FINGERPRINT, "next") as ours:
        assert ours.holder.number == 2


def test_a_claim_is_released_whatever_happens_inside(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), claimed(LakeLocation(tmp_path), FINGERPRINT, "one"):
        raise KeyboardInterrupt

    assert holders(LakeLocation(tmp_path))[run_lock.key(FINGERPRINT)][0] == FREE
    with claimed(LakeLocation(tmp_path), FINGERPRINT, "two") as ours:
        assert ours.holder.number == 2
    assert sorted(path.name for path in folder_of(tmp_path).iterdir()) == sorted(
        ["2.json", ours.holder.mark(folder_of(tmp_path), "released").name]
    )


def test_a_forgotten_claim_leaves_nothing_and_an_older_holder_still_learns(tmp_path: Path) -> None:
    with claimed(LakeLocation(tmp_path), FINGERPRINT, "old", lease=LeaseTimes(60, 600)) as old:
        (folder_of(tmp_path) / "1.json").rename(tmp_path / "kept")  # as if that one was stopped
        shutil.rmtree(folder_of(tmp_path))
        with claimed(LakeLocation(tmp_path), FINGERPRINT, "vacuum", forget=True) as again:
            assert again.holder.number == old.holder.number
        assert list((tmp_path / "_claims").iterdir()) == []
        with claimed(LakeLocation(tmp_path), FINGERPRINT, "new") as new:
            assert new.holder.number == old.holder.number
            with pytest.raises(ClaimLost):
                old.check()
    assert latest(folder_of(tmp_path)) == (new.holder, True, b"")


def test_a_broken_claim_is_waited_for_like_a_stranger_s(tmp_path: Path) -> None:
    folder_of(tmp_path).mkdir(parents=True)
    (folder_of(tmp_path) / "3.json").write_text("")

    with claimed(LakeLocation(tmp_path), FINGERPRINT, "next", lease=QUICK) as ours:
        assert ours.holder.number == 4


def test_a_heartbeat_that_cannot_be_written_is_told_once_and_ends_no_run(tmp_path: Path) -> None:
    told: list[str] = []
    with claimed(
        LakeLocation(tmp_path), FINGERPRINT, "one", watch=told.append, lease=LeaseTimes(60, 0.2)
    ) as ours:
        beat = ours.holder.mark(folder_of(tmp_path), "beat")
        in_the_way = beat.with_name(f"{beat.name}.tmp")
        in_the_way.mkdir()  # not even who may write everything can write this
        wait_for(lambda: bool(told))
        time.sleep(0.5)
        ours.check()
        assert not beat.exists()
        in_the_way.rmdir()
        wait_for(beat.exists)

    assert [line.count("the heartbeat cannot be written") for line in told] == [1]


def test_a_lake_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "_claims").write_text("a file")

    with pytest.raises(RunFailed, match="the run cannot be claimed"):  # noqa: SIM117 - as above
        with claimed(LakeLocation(tmp_path), FINGERPRINT, "one"):
            pytest.fail("it has")


def test_holders_says_who_is_at_work(tmp_path: Path) -> None:
    elsewhere(tmp_path)
    with claimed(LakeLocation(tmp_path), "cd" * 32, "here", lease=QUICK):
        found = holders(LakeLocation(tmp_path), QUICK)

    assert found[run_lock.key(FINGERPRINT)][0] == FREE
    state, holder = found[run_lock.key("cd" * 32)]
    assert (state, holder and holder.run_id) == (HELD, "here")
    assert holders(LakeLocation(tmp_path / "nothing")) == {}
