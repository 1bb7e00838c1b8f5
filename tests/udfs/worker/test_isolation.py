"""Rows that end the process: real crashes and hangs in real children, without Spark."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import timeit
from pathlib import Path

import psutil
import pyarrow as pa
import pytest
from helpers import image_table, images, loaded, pixel_mlp

from millrace.schemas.errors import RunFailed
from millrace.udfs.engine.fault_script import VARIABLE
from millrace.udfs.engine.metering import Meter, TaskAttempt
from millrace.udfs.engine.scoring import score
from millrace.udfs.models import model_loading
from millrace.udfs.runtime.plan import Plan, Runtime, Scorer
from millrace.udfs.runtime.watchdog import EXIT_CODE
from millrace.udfs.worker.isolation import ProcessIsolation
from millrace.udfs.worker.journal import Journal


@pytest.fixture
def mlp(tmp_path: Path) -> Path:
    return pixel_mlp(tmp_path / "mlp")


def scorer_of(folder: Path, **plan: object) -> Scorer:
    settings = Plan(("pixels",), ("id",), 16, 16, **plan)  # type: ignore[arg-type]
    return Scorer(folder, model_loading.digest_of(folder), Runtime("cpu"), settings, "", 0.0)


def scripted(monkeypatch: pytest.MonkeyPatch, folder: Path, *rules: object) -> Path:
    """A script for the children; the file that counts their calls."""
    script = folder / "script.json"
    content = {"predict": {"calls": str(folder / "calls"), "rules": rules}}
    script.write_text(json.dumps(content), "utf-8")
    monkeypatch.setenv(VARIABLE, str(script))
    return folder / "calls"


def died(folder: Path, *windows: int) -> None:
    """Attempts that ended at these windows, in order: each leaves its journal open."""
    for window in windows:
        journal = Journal(folder, 3).__enter__()
        journal.began(window)


def pixels_with(count: int, **marks: int) -> list[bytes]:
    rows = [bytes([cell[0] % 200]) + cell[1:] for cell in images(count)]
    for name, value in marks.items():
        row = int(name.removeprefix("row"))
        rows[row] = bytes([value]) + rows[row][1:]
    return rows


def run(scorer: Scorer, pixels: list[bytes], journal: Path) -> list[dict[str, object]]:
    apart = ProcessIsolation(scorer, [], Journal(journal, 3))
    batches = image_table(pixels).to_batches()
    out = score(batches, lambda: loaded(scorer.folder), scorer.plan, Meter(TaskAttempt()), apart)
    return pa.Table.from_batches(out).to_pylist()


def plain(scorer: Scorer, pixels: list[bytes]) -> list[dict[str, object]]:
    out = score(
        image_table(pixels).to_batches(),
        lambda: loaded(scorer.folder),
        scorer.plan,
        Meter(TaskAttempt()),
    )
    return pa.Table.from_batches(out).to_pylist()


@pytest.mark.slow
def test_rows_that_kill_their_process_are_found_in_children_and_the_others_scored_as_ever(
    mlp: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = scripted(
        monkeypatch,
        tmp_path,
        {"action": "segv", "when": [0, 255]},
        {"action": "hang", "when": [0, 254]},
        {"action": "raise", "when": [0, 253]},
        {"action": "nan", "when": [0, 252]},
    )
    scorer = scorer_of(mlp, batch_timeout_s=2.0)
    pixels = pixels_with(50, row19=255, row22=253, row30=254, row31=252)
    died(tmp_path / "journal", 1)

    found = run(scorer, pixels, tmp_path / "journal")

    undisturbed = plain(scorer, pixels)
    errors = {row["id"]: row["error"] for row in found if row["error"]}
    assert errors == {
        19: {"kind": "crash", "message": "the process ended by SIGSEGV"},
        22: {"kind": "predict", "message": "Fault: a failpoint said so at predict"},
        30: {"kind": "crash", "message": "no answer within 2 s"},
        31: {"kind": "output", "message": "NaN or infinite"},
    }
    assert [row["id"] for row in found] == list(range(50))
    for row, other in zip(found, undisturbed, strict=True):
        if row["error"] is None:
            assert row["label"] == other["label"]
            assert row["probabilities"] == pytest.approx(other["probabilities"], abs=1e-5)
    meters = [row["_meter"] for row in found if row["_meter"]]
    assert [m["rows"] for m in meters] == [16, 16, 16, 2]
    assert [m["failed"] for m in meters] == [0, 4, 0, 0]
    assert calls.is_file()  # the windows apart were computed by children
    assert not list((tmp_path / "journal").iterdir())


def test_no_child_outlives_the_task(
    mlp: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, tmp_path)
    died(tmp_path / "journal", 0)
    apart = ProcessIsolation(scorer_of(mlp), [], Journal(tmp_path / "journal", 3))
    before = psutil.Process().children()  # Spark's, where other tests ran
    with apart:
        apart.scored(image_table(images(4)).to_batches()[0].select(["pixels"]))
        children = [one for one in psutil.Process().children() if one not in before]
        assert children

    assert not any(child.is_running() for child in children)


@pytest.mark.slow
def test_a_model_that_ends_every_process_fails_the_task_soon(
    mlp: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = scripted(monkeypatch, tmp_path, {"action": "exit"})
    died(tmp_path / "journal", 0)

    with pytest.raises(RunFailed, match="whatever row") as raised:
        run(scorer_of(mlp), images(16), tmp_path / "journal")

    assert "exit code 3" in str(raised.value.got)
    assert len(calls.read_text("utf-8").splitlines()) <= 12


def test_a_child_that_cannot_load_the_model_says_why(mlp: Path, tmp_path: Path) -> None:
    died(tmp_path / "journal", 0)
    scorer = scorer_of(mlp)
    loaded(mlp)
    (mlp / "model.yaml").write_text((mlp / "model.yaml").read_text("utf-8") + "\n", "utf-8")
    apart = ProcessIsolation(scorer, [], Journal(tmp_path / "journal", 3))

    with apart, pytest.raises(Exception, match="changed during the run"):
        apart.scored(image_table(images(4)).to_batches()[0].select(["pixels"]))


# the journal


def test_a_journal_suspects_the_window_an_attempt_died_at_and_the_one_it_may_have_decoded(
    tmp_path: Path,
) -> None:
    died(tmp_path, 4)

    with Journal(tmp_path, 3) as journal:
        assert [n for n in range(10) if journal.is_suspect(n)] == [4, 5]
    with Journal(tmp_path, 3) as journal:
        assert not any(journal.is_suspect(n) for n in range(10))


def test_after_two_deaths_all_from_the_first_on_is_suspect(tmp_path: Path) -> None:
    died(tmp_path, 7, 2)

    with Journal(tmp_path, 3) as journal, Journal(tmp_path, 4) as other:
        assert [n for n in range(10) if journal.is_suspect(n)] == list(range(2, 10))
        assert not other.is_suspect(7)


def test_an_error_that_ends_the_task_leaves_no_journal_but_a_broken_device_does(
    tmp_path: Path,
) -> None:
    def fails(error: Exception) -> None:
        with Journal(tmp_path, 3) as journal:
            journal.began(5)
            raise error

    for error, is_left in ((ValueError("no"), False), (RuntimeError("CUDA error: assert"), True)):
        with pytest.raises(type(error)):
            fails(error)
        assert (tmp_path / "3.window").exists() is is_left


def test_noting_a_window_takes_microseconds(tmp_path: Path) -> None:
    with Journal(tmp_path, 3) as journal:
        seconds = min(timeit.repeat(lambda: journal.began(5), number=100, repeat=10)) / 100
    assert seconds < 500e-6


# the watchdog


def test_a_call_that_does_not_return_ends_the_process_though_it_holds_pythons_lock() -> None:
    code = (
        "import re, sys, time\n"
        "from millrace.udfs.runtime.watchdog import Watchdog\n"
        "dog = Watchdog(0.4)\n"
        "for _ in range(4):\n"
        "    with dog.watching():\n"
        "        for _ in range(5):\n"
        "            dog.call(); time.sleep(0.1)\n"
        "    time.sleep(0.6)\n"  # between windows anything may take its time
        "print('alive', flush=True)\n"
        "with dog.watching():\n"
        "    dog.call(); re.match('(a+)+b', 'a' * 60)\n"
    )
    started = time.monotonic()

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (EXIT_CODE, "alive\n")
    assert "re/__init__.py" in done.stderr
    assert time.monotonic() - started < 20
    assert done.returncode != -signal.SIGKILL
