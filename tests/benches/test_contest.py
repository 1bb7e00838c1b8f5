from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from benches import contestants, marks, outcome
from benches.contest import alone, contest
from benches.contestant import told
from benches.contestants import CONTESTANTS, PLAIN, PREDICT_BATCH
from benches.inputs import Layout, Made, make
from benches.millrace_job import VARIANTS, job_of
from benches.process import Failed, measured
from benches.workloads import WORKLOADS, parts
from millrace.schemas.config import Job
from millrace.schemas.yaml_file import load


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def payments(cache: Path) -> Made:
    return make(WORKLOADS["payments"], 600, cache)


@pytest.mark.parametrize("name", list(WORKLOADS))
@pytest.mark.parametrize("variant", list(VARIANTS))
def test_millrace_runs_the_shipped_job_with_every_rule_on(
    name: str, variant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).resolve().parents[2])
    places = {key: tmp_path / key for key in ("input", "model", "output", "report")}
    flags = [text for key, value in places.items() for text in (f"--{key}", str(value))]
    job = job_of(told("", ["--task", name, "--slots", "2", "--variant", variant, *flags]))
    shipped = load(Path(WORKLOADS[name].job), Job)
    assert job.contract.rules == shipped.contract.rules
    assert len(job.contract.expectations) >= len(shipped.contract.expectations)
    assert (job.cost, job.key) == (shipped.cost, shipped.key)
    assert (*job.key, *job.keep) == WORKLOADS[name].carried
    assert job.engine.batch == "auto"


def test_every_contestant_is_a_module_that_is_there() -> None:
    root = Path(__file__).resolve().parents[2]
    for one in CONTESTANTS.values():
        assert (root / f"{one.module.replace('.', '/')}.py").is_file(), one.module
        assert set(one.workloads) <= set(WORKLOADS)
    assert [one.name for one in contestants.of("payments")][:2] == [PLAIN, PREDICT_BATCH]


def test_a_contestant_that_fails_is_told_with_its_log(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="exit code 2"):
        measured([sys.executable, "-m", "benches.compare", "--no-such-flag"], tmp_path / "log")
    assert "no-such-flag" in (tmp_path / "log").read_text("utf-8")


def test_a_contestant_that_hangs_is_ended_with_all_its_processes(tmp_path: Path) -> None:
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    with pytest.raises(Failed, match="exit code"):
        measured([sys.executable, "-c", child], tmp_path / "log", limit_s=1.0)


def test_memory_is_told_at_its_peak_over_time_and_by_kind(tmp_path: Path) -> None:
    held = "import multiprocessing as m, time; p = m.Process(target=time.sleep, args=(3,)); p.start(); x = bytearray(200_000_000); p.join()"
    used = measured([sys.executable, "-c", held], tmp_path / "log")
    assert 200e6 < used.peak_pss_bytes_of["driver"] <= used.peak_pss_bytes
    assert 0 < used.peak_pss_bytes_of["workers"] < 100e6
    assert 0 < used.mean_pss_bytes <= used.peak_pss_bytes
    assert used.wall_s > 1


def test_a_peer_without_its_environment_says_how_to_make_it(payments: Made, cache: Path) -> None:
    from dataclasses import replace

    absent = replace(CONTESTANTS["daft"], environment="no-such-environment")
    with pytest.raises(Failed, match="make bench-peers"):
        contest(absent, payments, cache=cache)


def test_two_benchmarks_at_once_are_refused(tmp_path: Path) -> None:
    with alone(tmp_path), pytest.raises(Failed, match="another benchmark"), alone(tmp_path):
        pytest.fail("both run")
    with alone(tmp_path):
        assert (tmp_path / "lock").is_file()


def test_rows_are_made_once_and_copies_are_the_same_rows_under_new_keys(cache: Path) -> None:
    import pyarrow.parquet as pq

    workload = WORKLOADS["payments"]
    once = make(workload, 50, cache, Layout(files=2))
    before = [path.stat().st_mtime_ns for path in parts(once.input)]
    assert make(workload, 50, cache, Layout(files=2)) == once
    assert [path.stat().st_mtime_ns for path in parts(once.input)] == before
    four = make(workload, 50, cache, Layout(files=20, copies=4))
    assert (four.rows, len(parts(four.input)), len(parts(once.input))) == (200, 20, 2)
    rows, again = pq.read_table(once.input), pq.read_table(four.input)
    assert sorted(again["payment_id"].to_pylist()) == list(range(200))
    assert again.sort_by("payment_id")["amount"].to_pylist() == 4 * rows["amount"].to_pylist()


def test_calls_of_a_loaded_model_leave_their_first_and_last_end(tmp_path: Path) -> None:
    double = marks.loaded(tmp_path, lambda: lambda x: 2 * x, since=1.0)
    assert marks.read(tmp_path) == []
    assert [double(1), double(2)] == [2, 4]
    (mark,) = marks.read(tmp_path)
    assert mark["since"] == 1.0
    assert mark["began"] <= mark["ready"] <= mark["first"] <= mark["last"]
    told_by_marks = marks.summary(tmp_path, mark["began"], 2, 10.0)
    assert told_by_marks["first_prediction_at"] == mark["first"]
    assert told_by_marks["steady_s"] == mark["last"] - mark["ready"]
    assert told_by_marks["stage_steady_s"] == pytest.approx(10.0, abs=0.1)


@pytest.mark.slow
def test_plain_loop_scores_every_row_and_the_rest_adds_up(payments: Made, cache: Path) -> None:
    found, answered = contest(CONTESTANTS[PLAIN], payments, cache=cache)
    assert answered.keys.tolist() == list(range(600))
    assert outcome.difference(answered, answered, "1e-5")["equal"]
    assert 0 < found["steady_s"] < found["stage_s"] < found["wall_s"]
    assert 0 < found["first_prediction_s"] < found["wall_s"]
    assert found["peak_pss_bytes"] > 100_000_000
    assert found["cpu_s"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["fp32", "bf16", "openvino"])
def test_hand_tuned_loops_answer_as_the_plain_one_does(cache: Path, variant: str) -> None:
    from benches import tuned
    from benches.predictors import LOADERS

    made = make(WORKLOADS["docs"], 24, cache)
    import pyarrow.parquet as pq

    rows = pq.read_table(made.input)
    plain = LOADERS["docs"](made.model)(rows["text"].to_pylist())["embedding"]
    scorer = tuned.SCORERS["docs", variant]
    found = scorer.score(made.model, scorer.load(made.model), rows)["embedding"]
    cosines = np.einsum("rw,rw->r", plain, found)
    assert cosines.min() >= (0.99999 if variant == "fp32" else 0.999)
    assert not np.array_equal(found, plain) or variant == "fp32"
