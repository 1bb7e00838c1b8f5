from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benches import compare, figures, machine, outcome, table, workloads
from benches.figures import MILLRACE, PLAIN, PREDICT_BATCH
from benches.millrace_job import job_of
from benches.outcome import Answers
from benches.process import Failed, measured


def one_round(
    plain_s: float, predict_batch_s: float, millrace_s: float
) -> dict[str, figures.Figures]:
    seconds = {PLAIN: plain_s, PREDICT_BATCH: predict_batch_s, MILLRACE: millrace_s}
    found = {
        name: figures.with_speeds(
            {
                "wall_s": 3 * s,
                "cpu_s": 4 * s,
                "peak_pss_bytes": 700_000_000,
                "stage_s": s,
                "steady_s": s / 2,
                "answers": {"equal": True, "max_abs_difference": 0.0},
            },
            rows=100,
        )
        for name, s in seconds.items()
    }
    found[MILLRACE]["ledger_coverage"] = 0.97
    return found


def a_result(*rounds: dict[str, figures.Figures]) -> figures.Figures:
    return figures.result(
        workload="digits",
        about="small images",
        rows=100,
        rounds=rounds,
        rounds_run=len(rounds),
        machine={"cpu": "Some(R) CPU", "cores": 2, "memory_gb": 8.0},
        versions={"python": "3.11.7", "torch": "2.13.0"},
    )


ROUNDS = (one_round(2, 3, 5), one_round(11, 13, 17), one_round(7, 19, 23))


def answers(
    labels: list[int], numbers: list[list[float]], keys: list[int] | None = None
) -> Answers:
    return Answers(
        np.array(keys or range(len(labels))),
        np.array(labels, np.int64),
        np.array(numbers, np.float32),
    )


TWO = answers([3, 5], [[0.25, 0.75], [0.5, 0.5]])


def test_a_median_is_taken_of_each_number_and_inside_of_one_level() -> None:
    rounds = [
        {"wall_s": 7, "executor_s": {"infer": 1.0}, "is_closed": True, "told": "x"},
        {"wall_s": 2, "executor_s": {"infer": 5.0}, "is_closed": True, "told": "x"},
        {"wall_s": 3, "executor_s": {"infer": 2.0}, "is_closed": True, "told": "x"},
    ]
    assert figures.medians(rounds) == {"wall_s": 3, "executor_s": {"infer": 2.0}}


def test_a_number_that_a_round_lacks_has_no_median() -> None:
    assert figures.medians([{"a": 1, "b": 2}, {"a": 3, "b": None}, {"a": 5}]) == {"a": 3}


def test_speeds_are_rows_by_the_seconds_of_stage_steady_part_and_process() -> None:
    found = figures.with_speeds({"stage_s": 5.0, "steady_s": 2.0, "wall_s": 7.0}, rows=70)
    assert (found["rows_per_s"], found["steady_rows_per_s"]) == (14.0, 35.0)
    assert found["whole_process_rows_per_s"] == 10.0


def test_ratios_are_speeds_so_that_more_is_better() -> None:
    found = a_result(*ROUNDS)["ratios"]
    assert set(found) == {
        f"{PREDICT_BATCH}/{PLAIN}",
        f"{MILLRACE}/{PLAIN}",
        f"{MILLRACE}/{PREDICT_BATCH}",
    }
    # medians of the stage's seconds: 7, 13, 17
    assert found[f"{PREDICT_BATCH}/{PLAIN}"]["rows_per_s"] == pytest.approx(7 / 13, abs=2e-3)
    assert found[f"{MILLRACE}/{PREDICT_BATCH}"]["rows_per_s"] == pytest.approx(13 / 17, abs=2e-2)


def test_one_round_with_other_answers_makes_the_result_unequal() -> None:
    other = one_round(1, 1, 1)
    other[MILLRACE]["answers"]["equal"] = False
    result = a_result(*ROUNDS, other)
    assert a_result(*ROUNDS)["answers_equal"]
    assert not result["answers_equal"]
    assert "DIFFERENT" in table.page([result])


def test_the_page_is_made_from_the_stored_json_alone(tmp_path: Path) -> None:
    path = compare.store(a_result(*ROUNDS), tmp_path)
    (tmp_path / "other-2cores.json").write_text('{"not": "ours"}', "utf-8")
    assert path.name == "digits-some-cpu-2cores.json"
    assert compare.stored(tmp_path) == [a_result(*ROUNDS)]
    page = table.page(compare.stored(tmp_path))
    assert "| plain torch loop | 14 | 1 | 29 | 1 | 21.0 | 28.0 | 700 | equal |" in page
    assert "| Millrace, the whole job | 6 | 0.41 | 12 |" in page
    assert "account for 97.0% of the executors' time" in page
    assert "Medians of 3 rounds" in page


def test_every_line_of_a_table_has_as_many_cells_as_its_header() -> None:
    lines = [line for line in table.section(a_result(*ROUNDS)) if line.startswith("|")]
    assert len(lines) == 2 + 3
    assert {line.count("|") for line in lines} == {len(table.HEADER) + 1}


def test_equal_answers_have_equal_checksums_and_no_difference() -> None:
    again = answers([3, 5], [[0.25001, 0.74999], [0.5, 0.5]])
    assert again.checksum == TWO.checksum
    found = outcome.difference(again, TWO)
    assert found["equal"]
    assert found["max_abs_difference"] == pytest.approx(1e-5, rel=0.01)


@pytest.mark.parametrize(
    "other",
    [
        answers([3, 6], [[0.25, 0.75], [0.5, 0.5]]),
        answers([3, 5], [[0.25, 0.75], [0.5, 0.5]], keys=[0, 2]),
        answers([3], [[0.25, 0.75]]),
        answers([3, 5], [[0.25, 0.75], [0.5, 0.5002]]),
        answers([3, 5], [[0.25], [0.5]]),
        answers([3, 5], [[0.25, 0.75], [0.5, float("nan")]]),
    ],
    ids=["a label", "a key", "a row less", "a number", "a width", "not a number"],
)
def test_answers_that_differ_are_not_equal(other: Answers) -> None:
    assert not outcome.difference(other, TWO)["equal"]


@pytest.mark.parametrize("changed", [[3, 6], [5, 3]])
def test_other_labels_have_another_checksum(changed: list[int]) -> None:
    assert replace(TWO, labels=np.array(changed)).checksum != TWO.checksum


def test_answers_are_read_in_the_order_of_their_keys(tmp_path: Path) -> None:
    rows = pa.table(
        {
            "image_id": [2, 0, 1],
            "label": pa.array([7, 5, 6], pa.int32()),
            "probabilities": pa.array([[2.0, 2.5], [0.0, 0.5], [1.0, 1.5]], pa.list_(pa.float32())),
        }
    )
    pq.write_table(rows, tmp_path / "part-0.parquet")
    found = outcome.answers(tmp_path, workloads.WORKLOADS["digits"])
    assert found.keys.tolist() == [0, 1, 2]
    assert found.labels is not None
    assert found.labels.tolist() == [5, 6, 7]
    assert found.numbers.tolist() == [[0.0, 0.5], [1.0, 1.5], [2.0, 2.5]]


@pytest.mark.parametrize(
    ("cpu", "name"),
    [
        ("Intel(R) Xeon(R) CPU @ 2.20GHz", "intel-xeon-cpu-2-20ghz"),
        ("AMD EPYC 7B13", "amd-epyc-7b13"),
        ("Apple M2", "apple-m2"),
    ],
)
def test_a_cpu_becomes_part_of_a_file_name(cpu: str, name: str) -> None:
    assert machine.slug(cpu) == name


def test_the_facts_of_the_machine_name_no_host_and_no_path() -> None:
    import platform

    told = json.dumps([machine.machine(), machine.versions()])
    assert platform.node() not in told or len(platform.node()) < 4
    assert str(Path.home()) not in told
    assert set(machine.machine()) == {"cpu", "cores", "memory_gb", "system"}


@pytest.mark.parametrize("name", list(workloads.WORKLOADS))
def test_millrace_runs_the_shipped_job_with_every_rule_on(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benches.contestant import told
    from schemas.config import Job
    from schemas.yaml_file import load

    monkeypatch.chdir(Path(__file__).resolve().parents[2])
    places = {key: tmp_path / key for key in ("input", "model", "output", "report")}
    flags = [text for key, value in places.items() for text in (f"--{key}", str(value))]
    job = job_of(told("", ["--workload", name, "--slots", "2", *flags]))
    shipped = load(Path(workloads.WORKLOADS[name].job), Job)
    assert job.contract.rules == shipped.contract.rules
    assert len(job.contract.expectations) == len(shipped.contract.expectations)
    assert (job.engine, job.cost, job.key) == (shipped.engine, shipped.cost, shipped.key)
    assert (*job.key, *job.keep) == (
        workloads.WORKLOADS[name].key,
        *workloads.WORKLOADS[name].keep,
    )


def test_a_contestant_that_fails_stops_the_comparison(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="exit code 2"):
        measured("benches.compare", ["--no-such-flag"], tmp_path / "log")


@pytest.mark.slow
def test_the_plain_loop_scores_every_row_and_the_rest_adds_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).resolve().parents[2])
    monkeypatch.setattr(compare, "CACHE", tmp_path)
    made = workloads.make(workloads.WORKLOADS["digits"], 500, tmp_path)
    found, answered = compare.contest(PLAIN, made)
    assert answered.keys.tolist() == list(range(500))
    assert np.allclose(answered.numbers.sum(axis=1), 1, atol=1e-5)
    assert outcome.difference(answered, answered)["equal"]
    assert 0 < found["steady_s"] < found["stage_s"] < found["wall_s"]
    assert found["peak_pss_bytes"] > 100_000_000
    assert found["cpu_s"] > 0
    before = [path.stat().st_mtime_ns for path in workloads.parts(made.input)]
    again = workloads.make(workloads.WORKLOADS["digits"], 500, tmp_path)
    assert again == made
    assert [path.stat().st_mtime_ns for path in workloads.parts(made.input)] == before
