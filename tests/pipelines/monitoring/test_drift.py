"""Drift: profiles of inputs and outputs, a baseline, and what is said, refused or not committed."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from pydantic import ValidationError
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

import millrace
from millrace.pipelines.accounting.reconciliation import CLOCKS
from millrace.pipelines.cli import main
from millrace.pipelines.console.progress import Progress
from millrace.pipelines.job import work_units
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.monitoring import baseline
from millrace.pipelines.profiling import profiler, profiles
from millrace.pipelines.profiling.profiler import Sampling
from millrace.pipelines.profiling.profiles import (
    Measure,
    MeasureProfile,
    measures_of,
    output_measures,
)
from millrace.pipelines.profiling.sketches import LONG, Categories, Numbers
from millrace.pipelines.run.runner import check
from millrace.schemas.config import Job
from millrace.schemas.errors import GateRefused, OutputRefused, UsageError
from millrace.schemas.summary import RunSummary
from millrace.udfs.engine import fault_actions, fault_injection, fault_script
from tests.helpers import CLASSES, image_table, images, job_of, rows, write_parquet
from tests.pipelines.accounting.test_saving import Calls
from tests.pipelines.job.test_work_units import min_size

pytestmark = pytest.mark.spark
QUIET = Progress(quiet=True)
ROWS, FILES = 400, 4
WORDS = [f"word{n}" for n in range(10, 60)]
PINNED = {"backend": "torch", "precision": "fp32"}
TYPES = {
    "x": "double", "n": "int", "kind": "string", "yes": "boolean", "data": "binary",
    "vector": "array<float>", "day": "date", "label": "bigint",
}  # fmt: skip
Score = Callable[..., RunSummary]


def told_of(summary: RunSummary) -> list[str]:
    """Warnings about drift and outputs; a busy machine's clocks may have others."""
    about = ("baseline", "drifted", "outputs of")
    return [one for one in summary.warnings if any(word in one for word in about)]


def test_what_is_measured_follows_from_the_type_and_of_a_label_it_is_which_class() -> None:
    assert measures_of(TYPES) == [
        ("x", "value"), ("n", "value"), ("kind", "category"), ("kind", "length"),
        ("yes", "category"), ("data", "length"), ("vector", "length"), ("vector", "mean"),
        ("label", "value"),
    ]  # fmt: skip
    assert output_measures({"label": "bigint", "score": "float"}) == [
        ("label", "category"), ("score", "value"),
    ]  # fmt: skip


def test_a_profile_has_every_value_and_beside_other_aggregates_of_the_same_pass(
    spark: SparkSession,
) -> None:
    data = {
        "id": list(range(8)),
        "x": [1.0, -2.5, float("nan"), float("inf"), None, 1.0, 0.0, 40.0],
        "n": [1, 2, 3, 4, 5, 6, None, 8],
        "kind": ["a", "b", "a", None, "", "a", "x" * 65, "ü😀"],
        "yes": [True, False, True, None, True, True, True, True],
        "data": [b"", b"12", None, b"1", b"1", b"1", b"1", b"1"],
        "vector": [[1.0, 2.0], [], [None], None, [float("nan")], [3.0], [4.0], [5.0]],
        "label": [0] * 8,
    }
    types = {name: TYPES[name] for name in data if name != "id"}
    schema = "id long, " + ", ".join(f"{name} {kind}" for name, kind in types.items())
    frame = spark.createDataFrame(list(zip(*data.values(), strict=True)), schema)
    measures = measures_of(types)
    selected = profiler.columns(measures, types, Sampling(("id",), 1.0))

    (row,) = frame.select("id", *selected).agg(
        F.max("id").alias("last"), *profiler.aggregates(measures)
    ).collect()  # fmt: skip

    assert row["last"] == 7
    found = {one.measure: one for one in profiler.read(row.asDict(), measures)}
    told = {measure: (one.nulls, one.not_finite) for measure, one in found.items()}
    assert {one.rows for one in found.values()} == {8}
    assert told == {
        ("x", "value"): (1, 2), ("n", "value"): (1, 0), ("kind", "category"): (1, 0),
        ("kind", "length"): (1, 0), ("yes", "category"): (1, 0), ("data", "length"): (1, 0),
        ("vector", "length"): (1, 0), ("vector", "mean"): (1, 3), ("label", "value"): (0, 0),
    }  # fmt: skip

    def numbers(column: str, measure: str) -> MeasureProfile:
        one = found[Measure(column, measure)]
        assert isinstance(one.sketch, Numbers)
        return one

    def sketch(*values: float) -> Numbers:
        return Numbers.of(np.array(values, np.float64))

    assert numbers("x", "value").sketch == sketch(1, -2.5, 1, 0, 40)
    assert numbers("x", "value").mean == pytest.approx(39.5 / 5)
    assert (found[Measure("x", "value")].least, found[Measure("x", "value")].largest) == (-2.5, 40)
    assert numbers("kind", "length").sketch == sketch(1, 1, 1, 0, 1, 65, 2)
    assert numbers("data", "length").sketch == sketch(0, 2, 1, 1, 1, 1, 1)
    assert numbers("vector", "length").sketch == sketch(2, 0, 1, 1, 1, 1, 1)
    assert numbers("vector", "mean").sketch == sketch(1.5, 3, 4, 5)
    assert found[Measure("yes", "category")].sketch == Categories({"false": 1, "true": 6})
    kinds = {"": 1, "a": 3, "b": 1, "ü😀": 1, LONG: 1}
    assert found[Measure("kind", "category")].sketch == Categories(kinds)


def test_a_sample_is_the_same_at_each_look_and_counts_are_of_all_rows(spark: SparkSession) -> None:
    frame = spark.range(20_000).withColumn("x", (F.col("id") % 1000).cast("double"))
    sampling = Sampling.of(("id",), 20_000 * 10, 1)
    assert sampling.share == 0.25
    one, other = (
        profiler.profiled(rows, [Measure("x", "value")], {"x": "double"}, sampling)[0]
        for rows in (frame, frame.repartition(7, "x"))
    )
    assert one.sketch == other.sketch
    assert one.sketch.total == pytest.approx(5000, rel=0.1)
    assert (one.rows, one.least, one.largest) == (20_000, 0, 999)
    few = profiler.profiled(frame, [Measure("x", "value")], {"x": "double"}, Sampling(("id",), 1))
    assert few[0].sketch.total == 20_000


def table(count: int, seed: int, **changes: Any) -> pa.Table:
    """Rows with a number, a category, a text and a number that is null now and then."""
    random = np.random.default_rng(seed)
    how = {"mean": 0.0, "kinds": [0.6, 0.3, 0.1], "words": 6, "null": 0.02} | changes
    columns = {
        "amount": random.normal(50 + how["mean"], 10, count),
        "kind": random.choice(["card", "cash", "bank"], count, p=how["kinds"]),
        "note": [" ".join(random.choice(WORDS, n)) for n in random.poisson(how["words"], count)],
        "rating": pa.array(random.integers(1, 6, count), mask=random.random(count) < how["null"]),
        "steady": random.uniform(0, 1, count),
    }
    made = image_table(images(count, seed))
    for name, values in columns.items():
        made = made.append_column(name, pa.array(values))
    return made


def job_with(tmp: Path, model: Path, monitor: dict[str, Any] | None = None, **changes: Any) -> Job:
    columns = {
        "id": {"type": "bigint", "nullable": False}, "pixels": {"type": "binary"},
        "amount": {"type": "double"}, "kind": {"type": "string"}, "note": {"type": "string"},
        "rating": {"type": "bigint"}, "steady": {"type": "double"},
    }  # fmt: skip
    changes.setdefault("contract", {"columns": columns})
    return job_of(tmp, model, engine=PINNED, monitor=monitor or {}, **changes)


@pytest.mark.slow
def test_planted_drift_is_told_with_its_column_and_none_where_nothing_changed(
    score: Score, spark: SparkSession, model: Path, tmp_path: Path
) -> None:
    lake = tmp_path / "lake"
    job = job_with(tmp_path, model)
    write_parquet(tmp_path / "input", table(3000, 1), files=2)
    first = score(job)
    assert ["no baseline" in warning for warning in told_of(first)] == [True]
    set_ = CliRunner().invoke(main, ["baseline", "set", first.run_id[:9], "--lake", str(lake)])
    assert f"compared with {first.run_id}" in set_.output

    write_parquet(tmp_path / "input", table(2000, 2), files=2)
    same = score(job)

    assert told_of(same) == []
    told = rows(lake, f"SELECT * FROM drift WHERE run_id = '{same.run_id}'")
    assert {(row["column"], row["measure"]) for row in told if row["side"] == "input"} >= {
        ("amount", "value"), ("kind", "category"), ("note", "length"), ("rating", "missing"),
    }  # fmt: skip
    assert not any(row["drifted"] for row in told)

    moved = {"mean": 6, "kinds": [0.3, 0.3, 0.4], "words": 12, "null": 0.2}
    write_parquet(tmp_path / "input", table(2000, 3, **moved), files=2)
    warned = score(job)

    drifted = rows(
        lake,
        f"SELECT column, measure, why FROM drift WHERE run_id = '{warned.run_id}' "
        "AND drifted AND side = 'input' ORDER BY column",
    )
    assert [(row["column"], row["measure"]) for row in drifted] == [
        ("amount", "value"), ("kind", "category"), ("note", "length"), ("rating", "missing"),
    ]  # fmt: skip
    why = {row["column"]: row["why"] for row in drifted}
    means = re.search(r"mean ([\d.]+) before, ([\d.]+) now", why["amount"])
    assert means is not None
    assert [float(one) for one in means.groups()] == pytest.approx([50, 56], abs=1)
    shares = dict(re.findall(r"'(\w+)' ([\d.]+)% before", why["kind"]))
    assert float(shares["card"]) == pytest.approx(60, abs=3)
    assert float(shares["bank"]) == pytest.approx(10, abs=3)
    assert re.search(r"^[12]\.\d% before, (19|2\d)\.\d% now$", why["rating"])
    assert warned.state == "done"
    assert len(told_of(warned)) == 4
    assert all(f"drifted from run {first.run_id}" in warning for warning in told_of(warned))

    found = millrace.read(lake).drift(warned.run_id)
    assert (found.run_id, found.baseline) == (warned.run_id, first.run_id)
    assert {one["column"] for one in found.drifted} == {"amount", "kind", "note", "rating"}
    assert millrace.read(lake).baselines()[-1]["applies"] is True
    assert "<table>" in found._repr_html_()
    shown = CliRunner().invoke(main, ["drift", warned.run_id, "--lake", str(lake), "--json"])
    assert json.loads(shown.output) == found.as_json()
    as_json = json.loads(shown.output)
    assert (as_json["baseline"], as_json["drifted"]) == (first.run_id, True)
    assert sum(row["drifted"] for row in as_json["columns"]) == 4
    (amount,) = [one for one in as_json["columns"] if one["column"] == "amount" and one["ks"]]
    assert amount["limits"] == {"psi": 0.2, "js": 0.2, "ks": 0.15}
    against = ["--baseline", same.run_id, "--units"]
    plain = CliRunner().invoke(main, ["drift", first.run_id, *against, "--lake", str(lake)])
    assert f"have drifted from run {same.run_id}" in plain.output
    assert "0 of" in plain.output

    check_refusals(score, spark, model, tmp_path)


def check_refusals(score: Score, spark: SparkSession, model: Path, tmp_path: Path) -> None:
    """What jobs do that refuse an input which has drifted, as the one above."""
    lake = tmp_path / "lake"
    with pytest.raises(GateRefused) as refused:  # the same input again, by a job that refuses
        score(job_with(tmp_path, model, {"drift": {"on_drift": "refuse"}}), fresh=True)
    assert refused.value.exit_code == 3
    for column in ("amount.value", "kind.category", "note.length", "rating.missing"):
        assert column in str(refused.value)
    assert "steady" not in str(refused.value)
    refusing = job_with(tmp_path, model, {"drift": {"on_drift": "refuse", "columns": ["amount"]}})
    with pytest.raises(GateRefused, match="amount.value"):
        check(spark, refusing, QUIET)
    assert len(rows(lake, "SELECT DISTINCT run_id FROM predictions_tiny")) == 3
    last = rows(lake, "SELECT state FROM runs_current ORDER BY number DESC LIMIT 1")
    assert last == [{"state": "refused"}]

    allowed = job_with(tmp_path, model, {"drift": {"on_drift": "warn"}})
    assert score(allowed).scored == 2000  # the refused run goes on
    assert len(rows(lake, "SELECT run_id FROM profiles WHERE side = 'input'")) == 4 * 8


def uniform(count: int, value: int) -> list[bytes]:
    """So many images that are the same."""
    return [bytes([value]) * 16] * count


@pytest.fixture
def in_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[bytes]], None]:
    def write(pixels: list[bytes]) -> None:
        folder = write_parquet(tmp_path / "input", image_table(pixels), files=FILES)
        monkeypatch.setattr(work_units, "_UNKNOWN_SPEED_BYTES", min_size(folder))

    return write


def scored_ids(lake: Path) -> Counter[int]:
    return Counter(row["id"] for row in rows(lake, "SELECT id FROM predictions_tiny"))


@pytest.mark.slow
def test_a_unit_of_one_class_is_not_committed_and_the_others_are_not_scored_again(
    score: Score,
    model: Path,
    tmp_path: Path,
    spark: SparkSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    size, lake = ROWS // FILES, tmp_path / "lake"
    pixels = images(ROWS)
    pixels[2 * size : 3 * size] = uniform(size, 9)
    write_parquet(tmp_path / "input", image_table(pixels), files=FILES)
    monkeypatch.setattr(work_units, "_UNKNOWN_SPEED_BYTES", 1)  # each file
    gate = {"min_classes": 2, "ranges": {"score": [0, 1]}, "max_nan_share": 0.0}
    calls = Calls(spark, tmp_path)
    calls.again()
    try:
        with pytest.raises(OutputRefused) as refused:
            score(
                job_of(
                    tmp_path, model, engine=PINNED, monitor={"outputs": gate | {"action": "stop"}}
                )
            )

        assert "unit 2" in str(refused.value)
        assert "100 rows have 1 of at least 2 classes" in str(refused.value)
        first = calls.rows
        committed = {
            row["unit"] for row in rows(lake, "SELECT DISTINCT unit FROM predictions_tiny")
        }
        assert committed >= {0}  # the second was under way, if it was not done
        assert 2 not in committed
        kept = rows(lake, "SELECT DISTINCT unit FROM profiles WHERE side = 'output'")
        assert {row["unit"] for row in kept} == committed
        calls.again()

        summary = score(job_of(tmp_path, model, engine=PINNED, monitor={"outputs": gate}))
    finally:
        del spark.sparkContext.environment[fault_script.VARIABLE]

    assert scored_ids(lake) == Counter(range(ROWS))
    assert first >= size * len(committed)
    assert calls.rows == ROWS - size * len(committed)
    assert any("outputs of unit 2: 100 rows have 1" in one for one in summary.warnings)
    open_ = {gate.name for gate in summary.gates if gate.passed is False}
    # Of two attempts in one application, a task that was killed may end after the first one's books.
    assert not open_ - {CLOCKS, "tasks, start-up and idle cores are all the cores that were held"}
    assert len(rows(lake, "SELECT unit FROM profiles WHERE side = 'output'")) == FILES * 4
    assert not (lake / "_staging").exists()


def profile(measure: Measure, sketch: Any, rows: int, **more: Any) -> MeasureProfile:
    told = {"nulls": 0, "not_finite": 0, "least": None, "largest": None, "mean": None} | more
    return MeasureProfile(measure, rows, sketch=sketch, **told)


def test_gates_of_outputs_hold_to_the_row() -> None:
    from millrace.pipelines.profiling.output_checks import check_names, refusals
    from millrace.schemas.monitor import Outputs

    label, value = Measure("label", "category"), Measure("score", "value")

    def refused(asked: dict[str, Any], one: MeasureProfile) -> bool:
        return bool(refusals({one.measure: one}, Outputs.model_validate(asked)))

    bad = [profile(label, Categories({"a": 5}), 100, not_finite=n) for n in (5, 6)]
    assert [refused({"max_nan_share": 0.05}, one) for one in bad] == [False, True]
    classes = [profile(label, Categories(c), 100) for c in ({"a": 100}, {"a": 99, "b": 1}, None)]
    assert [refused({"min_classes": 2}, one) for one in classes] == [True, False, False]
    assert not refused({"min_classes": 2, "min_rows": 101}, classes[0])
    numbers = [
        profile(value, Numbers(), 9, least=least, largest=largest)
        for least, largest in ((0, 1), (-0.1, 1), (0, 1.1), (None, None))
    ]
    asked = {"ranges": {"score": [0, 1]}}
    assert [refused(asked, one) for one in numbers] == [False, True, True, False]
    assert not refused({}, bad[1])
    with pytest.raises(UsageError, match="no number that the model gives"):
        check_names(Outputs(ranges={"label": (0, 1)}), [label, value])
    with pytest.raises(UsageError, match="needs a model that gives `label`"):
        check_names(Outputs(min_classes=2), [value])
    with pytest.raises(ValidationError, match="goes down"):
        Outputs(ranges={"score": (1, 0)})


@pytest.mark.slow
def test_a_driver_that_dies_between_a_commit_and_its_profile_leaves_the_profiles_of_a_quiet_run(
    score: Score,
    model: Path,
    tmp_path: Path,
    in_units: Callable[[list[bytes]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    in_units([b"no 16 bytes" if n == 4 else image for n, image in enumerate(images(ROWS // 5))])
    job = job_of(tmp_path, model, engine=PINNED, monitor={})
    with monkeypatch.context() as broken:
        dies = fault_script.FaultRule("raise", at="after_commit", nth=2)
        broken.setattr(fault_injection, "ON", True)
        broken.setattr(fault_injection, "SCRIPT", fault_script.FaultScript(driver=(dies,)))
        with pytest.raises(fault_actions.Fault):
            score(job)
    told = rows(tmp_path / "lake", "SELECT DISTINCT unit FROM profiles WHERE side = 'output'")
    assert len(told) < len(rows(tmp_path / "lake", "SELECT DISTINCT unit FROM predictions_tiny"))
    resumed = score(job)

    quiet = score(job.model_copy(update={"output": type(job.output)(path=str(tmp_path / "other"))}))

    one, other = (
        profiles.of_units(LakeLocation(lake), run_id)
        for lake, run_id in (
            (tmp_path / "lake", resumed.run_id),
            (tmp_path / "other", quiet.run_id),
        )
    )
    assert list(one) == list(other) == list(range(FILES))
    for unit in one:
        for measure, found in one[unit].items():
            expected = vars(other[unit][measure])
            assert vars(found) | {"mean": None} == expected | {"mean": None}
            assert found.mean == pytest.approx(expected["mean"])
    assert one[0][Measure("label", "category")].nulls == 1
    whole = profiles.over_units(one)[Measure("label", "category")]
    assert (whole.rows, whole.sketch.total) == (ROWS // 5, ROWS // 5 - 1)
    assert isinstance(whole.sketch, Categories)
    assert len(whole.sketch.counts or {}) <= CLASSES
    inputs = [
        profiles.of_input(LakeLocation(tmp_path / n), r.run_id)
        for n, r in (("lake", resumed), ("other", quiet))
    ]
    assert inputs[0] == inputs[1]
    assert len(rows(tmp_path / "lake", "SELECT unit FROM profiles WHERE side = 'input'")) == 1


def test_a_baseline_is_a_run_that_is_done_and_was_measured(tmp_path: Path) -> None:
    from millrace.pipelines.lake import delta
    from millrace.schemas.tables import RUNS

    at = datetime(2026, 1, 1, tzinfo=UTC)
    for run_id, state in (("tiny-1", "done"), ("tiny-2", "stopped")):
        event = {"run_id": run_id, "event": 0, "job": "tiny", "state": state, "at": at}
        delta.append_values([event], LakeLocation(tmp_path), RUNS, run_id)
    with pytest.raises(UsageError, match="has no profiles"):
        baseline.set_(LakeLocation(tmp_path), "tiny-1", at)
    with pytest.raises(UsageError, match="tiny-2 is stopped"):
        baseline.set_(LakeLocation(tmp_path), "tiny-2", at)
    with pytest.raises(UsageError, match="no run tiny-3"):
        baseline.set_(LakeLocation(tmp_path), "tiny-3", at)
    answer = CliRunner().invoke(main, ["drift", "tiny-1", "--lake", str(tmp_path)])
    assert answer.exit_code == 2
    told = CliRunner().invoke(main, ["baseline", "show", "--lake", str(tmp_path)])
    assert "no baseline is set" in told.output


def test_a_job_may_not_watch_what_is_not_there(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="colour; declared: id, pixels"):
        job_of(tmp_path, model, monitor={"drift": {"columns": ["colour"]}})
    with pytest.raises(ValidationError, match="on_drift"):
        job_of(tmp_path, model, monitor={"drift": {"on_drift": "stop"}})
