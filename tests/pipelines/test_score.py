"""A run from end to end, on real Spark and Delta."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import deltalake
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession

from millrace.pipelines.accounting import ledger
from millrace.pipelines.console.progress import Progress
from millrace.pipelines.inference import scoring
from millrace.pipelines.job.prepared_job import PreparedJob, prepare
from millrace.pipelines.lake import delta, live_rows, runs
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.run.runner import check
from millrace.pipelines.validation.gx_adapter import build_suite, validate_with_spark
from millrace.schemas.config import Job
from millrace.schemas.errors import GateRefused, RunFailed, UsageError
from millrace.schemas.expectation import Expectation
from millrace.schemas.summary import RunSummary
from millrace.schemas.tables import METER, RUNS
from millrace.udfs.engine.task_scoring import ERROR_TYPE
from millrace.udfs.runtime.plan import Plan, Runtime, Scorer
from millrace.udfs.worker.functions import pandas_scorer
from tests.helpers import image_table, images, job_of, rows, torch_loop, write_parquet

pytestmark = pytest.mark.spark
Score = Callable[[Job], RunSummary]
QUIET = Progress(quiet=True)


def versions(lake: Path) -> dict[str, int]:
    return {
        path.name: deltalake.DeltaTable(path).version()
        for path in lake.iterdir()
        if path.name[0] != "_"
    }


CONTRACT = {
    "columns": {
        "id": {"type": "bigint", "nullable": False, "unique": True},
        "pixels": {"type": "binary", "nullable": False},
        "note": {"type": "string"},
    },
    "rules": [
        {"name": "whole", "holds": "length(pixels) = 16"},
        {"name": "short_note", "holds": "length(note) < 5", "on_null": "pass"},
        {"name": "no_x", "holds": "note NOT LIKE '%x%'", "severity": "warn", "on_null": "pass"},
    ],
    "max_quarantined": 1.0,
}


def broken_input(folder: Path) -> list[bytes]:
    """Six rows: fine, warned, two that share a key, one null key with two more faults, one fine."""
    pixels = images(6)
    table = image_table([*pixels[:4], b"short", pixels[5]], [1, 2, 3, 3, None, 6])
    notes = pa.array([None, "x", "a", "b", "much too long", ""])
    write_parquet(folder, table.append_column("note", notes), files=2)
    return pixels


def test_every_row_is_scored_or_quarantined_with_all_its_reasons(
    score: Score, model: Path, tmp_path: Path
) -> None:
    broken_input(tmp_path / "input")

    summary = score(job_of(tmp_path, model, contract=CONTRACT, keep=("note",)))

    assert (summary.rows_read, summary.scored, summary.quarantined, summary.failed) == (6, 3, 3, 0)
    lake = tmp_path / "lake"
    kept = rows(lake, "SELECT id, note, warnings FROM tiny_current ORDER BY id")
    assert kept == [
        {"id": 1, "note": None, "warnings": []},
        {"id": 2, "note": "x", "warnings": ["no_x"]},
        {"id": 6, "note": "", "warnings": []},
    ]
    refused = {
        row["key"]: row for row in rows(lake, "SELECT * FROM quarantine WHERE key <> '{\"id\":3}'")
    }
    (worst,) = refused.values()
    assert [reason["rule"] for reason in worst["reasons"]] == ["id.not_null", "whole", "short_note"]
    assert json.loads(worst["payload"])["note"] == "much too long"
    twins = rows(lake, "SELECT reasons FROM quarantine WHERE key = '{\"id\":3}'")
    assert [[reason["rule"] for reason in twin["reasons"]] for twin in twins] == [["id.unique"]] * 2
    counted = {
        row["rule"]: row["failed"] for row in rows(lake, "SELECT rule, failed FROM validations")
    }
    assert counted == {
        "id.not_null": 1, "id.unique": 2, "pixels.not_null": 0, "whole": 1, "short_note": 1, "no_x": 1,
    }  # fmt: skip


def test_tables_say_what_their_columns_mean(score: Score, model: Path, tmp_path: Path) -> None:
    broken_input(tmp_path / "input")
    score(job_of(tmp_path, model, contract=CONTRACT))

    for table in ("predictions_tiny", "quarantine", "validations", "ledger", "runs"):
        fields = deltalake.DeltaTable(tmp_path / "lake" / table).schema().fields
        assert [f.name for f in fields if not f.metadata.get("comment")] == [], table
    roles = deltalake.DeltaTable(tmp_path / "lake" / "predictions_tiny").schema().fields
    assert [f.name for f in roles if f.metadata.get("millrace.role") == "key"] == ["id"]


def test_the_ledger_adds_up(score: Score, model: Path, tmp_path: Path) -> None:
    write_parquet(tmp_path / "input", image_table(images(40)), files=2)

    summary = score(job_of(tmp_path, model))

    lake = tmp_path / "lake"
    ledger = rows(lake, "SELECT * FROM ledger")
    assert len({row["x_RecordId"] for row in ledger}) == len(ledger)
    assert sum((row["EffectiveCost"] for row in ledger), Decimal(0)) == summary.cost
    for row in ledger:
        assert abs(
            row["EffectiveCost"] - row["ConsumedQuantity"] * row["ListUnitPrice"]
        ) <= Decimal("1e-12")
    assert sum(row["x_RowsOut"] or 0 for row in ledger if row["SkuMeter"] == "Core") == 40
    assert {"startup", "model_load", "useful", "validation"} <= {
        row["x_CostKind"] for row in ledger
    }
    assert summary.books_closed is True
    unknown = sum(row["x_SlotMs"] for row in ledger if row["x_CostKind"] == "unattributed")
    assert unknown <= 0.1 * sum(row["x_SlotMs"] for row in ledger if row["x_TaskId"] is not None)


def test_a_job_that_is_done_scores_nothing_when_it_is_run_again(
    score: Score, model: Path, tmp_path: Path
) -> None:
    write_parquet(tmp_path / "input", image_table(images(10)))
    job = job_of(tmp_path, model)
    first = score(job)
    before = versions(tmp_path / "lake")

    again = score(job)

    assert versions(tmp_path / "lake") == before
    assert (again.run_id, again.state, again.scored) == (first.run_id, "done", 10)
    assert again.warnings == ("already done: nothing was scored again",)
    assert (again.infer_s, again.scored_now, again.rows_per_s) == (0.0, 0, None)
    assert again.wall_s != first.wall_s
    assert again.gates


def test_changed_input_is_a_new_run(score: Score, model: Path, tmp_path: Path) -> None:
    write_parquet(tmp_path / "input", image_table(images(10)))
    first = score(job_of(tmp_path, model))
    write_parquet(tmp_path / "input", image_table(images(12, seed=1)))

    second = score(job_of(tmp_path, model))

    assert first.fingerprint != second.fingerprint
    assert second.scored == 12
    current = rows(tmp_path / "lake", "SELECT id, run_id FROM tiny_current ORDER BY id")
    assert [row["run_id"] for row in current] == [second.run_id] * 12


def test_speed_settings_do_not_make_a_new_run(score: Score, model: Path, tmp_path: Path) -> None:
    write_parquet(tmp_path / "input", image_table(images(5)))
    first = score(job_of(tmp_path, model))

    assert score(job_of(tmp_path, model, engine={"batch": 2})).run_id == first.run_id


def test_a_run_that_broke_after_its_commit_is_resumed_without_scoring_again(
    score: Callable[..., RunSummary], model: Path, tmp_path: Path
) -> None:
    write_parquet(tmp_path / "input", image_table(images(10)))
    lake, job = tmp_path / "lake", job_of(tmp_path, model)

    def prepare_and_break(spark: SparkSession, job: Job) -> PreparedJob:
        prepared = prepare(spark, job)
        lake.mkdir()
        (lake / "ledger").write_text("a file where the ledger's folder should be")
        return prepared

    with pytest.raises(RunFailed):
        score(job, prepare=prepare_and_break)
    (lake / "ledger").unlink()
    committed = deltalake.DeltaTable(lake / "predictions_tiny").version()

    summary = score(job)

    assert deltalake.DeltaTable(lake / "predictions_tiny").version() == committed
    assert (summary.state, summary.scored, summary.infer_s) == ("done", 10, 0.0)
    events = rows(lake, "SELECT state FROM runs ORDER BY event")
    assert [event["state"] for event in events] == ["started", "failed", "resumed", "done"]
    assert len(rows(lake, "SELECT id FROM predictions_tiny")) == 10


@pytest.mark.parametrize("name", ["ledger", "predictions_tiny"])
def test_a_file_in_the_place_of_a_table_is_named_before_anything_is_computed(
    score: Score, model: Path, tmp_path: Path, name: str
) -> None:
    write_parquet(tmp_path / "input", image_table(images(10)))
    lake = tmp_path / "lake"
    lake.mkdir()
    (lake / name).write_text("a file where a table's folder should be")

    with pytest.raises(UsageError, match=f"{name} is not a table") as refusal:
        score(job_of(tmp_path, model))

    assert str(lake / name) in str(refusal.value)
    assert [path.name for path in lake.iterdir()] == [name]


@given(
    count=st.integers(1, 70),
    files=st.integers(1, 3),
    batch=st.integers(1, 80),
    surface=st.sampled_from(["arrow", "pandas"]),
    seed=st.integers(0, 9),
)
@settings(
    max_examples=5,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to shrink takes minutes of Spark
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@pytest.mark.slow
def test_predictions_equal_a_plain_torch_loop_whatever_the_cuts(  # noqa: PLR0917
    score: Score, model: Path, tmp_path_factory: pytest.TempPathFactory,
    count: int, files: int, batch: int, surface: str, seed: int,
) -> None:  # fmt: skip
    folder, pixels = tmp_path_factory.mktemp("cuts"), images(count, seed)
    write_parquet(folder / "input", image_table(pixels), files)

    score(job_of(folder, model, engine={"batch": batch, "surface": surface}))

    found = rows(
        folder / "lake", "SELECT id, label, probabilities FROM predictions_tiny ORDER BY id"
    )
    labels, probabilities = torch_loop(model, pixels)
    assert [row["id"] for row in found] == list(range(count))
    assert [row["label"] for row in found] == labels.tolist()
    assert np.abs(np.array([row["probabilities"] for row in found]) - probabilities).max() <= 1e-5


def scored_frame(spark: SparkSession, job: Job) -> DataFrame:
    """The frame that a run would commit."""
    prepared = prepare(spark, job)
    source = spark.read.parquet(str(Path(job.source.path)))
    scorer = Scorer(
        prepared.model.folder,
        prepared.model.digest,
        Runtime(),
        scoring.plan_of(job, prepared.model, 8),
        "",
        0.0,
    )
    accepted = scoring.accepted(source, prepared.rules, job, prepared.model)
    return scoring.scored(accepted, job, prepared.contract, prepared.model, scorer)


@pytest.mark.parametrize("surface", ["arrow", "pandas"])
def test_nothing_shuffles_after_the_model_and_python_runs_once(
    spark: SparkSession,
    model: Path,
    tmp_path: Path,
    surface: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_parquet(tmp_path / "input", image_table(images(10)), files=2)

    scored_frame(spark, job_of(tmp_path, model, engine={"surface": surface})).explain()

    plan = capsys.readouterr().out
    nodes = [
        line for line in plan.splitlines() if "MapInArrow" in line or "ArrowEvalPython" in line
    ]
    assert len(nodes) == 1, plan
    assert "Exchange" not in plan[: plan.index(nodes[0])], plan


def test_both_surfaces_give_the_same_rows(spark: SparkSession, model: Path, tmp_path: Path) -> None:
    write_parquet(tmp_path / "input", image_table(images(50)), files=2)
    both = [
        scored_frame(spark, job_of(tmp_path, model, engine={"surface": surface}))
        .drop("_meter")
        .orderBy("id")
        for surface in ("arrow", "pandas")
    ]

    assert both[0].schema.simpleString() == both[1].schema.simpleString()
    assert both[0].collect() == both[1].collect()


def test_the_model_can_be_called_from_sql(spark: SparkSession, model: Path, tmp_path: Path) -> None:
    pixels = images(20)
    write_parquet(tmp_path / "input", image_table(pixels))
    verified = prepare(spark, job_of(tmp_path, model)).model
    scorer = Scorer(
        verified.folder, verified.digest, Runtime("cpu"), Plan(("pixels",), batch_rows=7), "", 0.0
    )
    spark.udf.register("classify", pandas_scorer(scorer, verified.card))
    spark.read.parquet(str(tmp_path / "input")).createOrReplaceTempView("pictures")

    found = spark.sql(
        "SELECT id, classify(pixels).label AS label FROM pictures ORDER BY id"
    ).collect()

    assert [row.label for row in found] == torch_loop(model, pixels)[0].tolist()


def test_great_expectations_counts_what_our_predicates_count(
    spark: SparkSession, model: Path, tmp_path: Path
) -> None:
    broken_input(tmp_path / "input")
    job = job_of(tmp_path, model, contract=CONTRACT)
    frame = spark.read.parquet(str(tmp_path / "input"))

    promised = [
        Expectation(expect=name, column=column)
        for column in ("id", "pixels")
        for name in ("ExpectColumnValuesToNotBeNull", "ExpectColumnValuesToBeUnique")
        if (column, name) != ("pixels", "ExpectColumnValuesToBeUnique")
    ]
    results = validate_with_spark(frame, build_suite(promised))

    ours = {r.rule: r.failed for r in check(spark, job, QUIET).results}
    names = {
        "expect_column_values_to_not_be_null": "not_null",
        "expect_column_values_to_be_unique": "unique",
    }
    theirs = {
        f"{r.expectation_config.kwargs['column']}.{names[r.expectation_config.type]}": r.result[
            "unexpected_count"
        ]
        for r in results
    }
    assert theirs == {rule: ours[rule] for rule in theirs}
    assert theirs == {"id.not_null": 1, "id.unique": 2, "pixels.not_null": 0}


def with_expectation(severity: str) -> dict[str, Any]:
    few = {"expect": "ExpectTableRowCountToBeBetween", "max_value": 3, "severity": severity}
    return {**CONTRACT, "rules": [], "expectations": [few]}


def test_a_critical_expectation_shuts_the_gate_before_anything_is_scored(
    score: Score, model: Path, tmp_path: Path
) -> None:
    broken_input(tmp_path / "input")

    with pytest.raises(GateRefused, match="ExpectTableRowCountToBeBetween") as refused:
        score(job_of(tmp_path, model, contract=with_expectation("critical")))

    assert refused.value.exit_code == 3
    assert not (tmp_path / "lake" / "predictions_tiny").exists()
    assert [
        e["state"] for e in rows(tmp_path / "lake", "SELECT state FROM runs ORDER BY event")
    ] == ["started", "refused"]
    pages = sorted((tmp_path / "lake" / "_reports").glob("*.html"))
    (run_id,) = {row["run_id"] for row in rows(tmp_path / "lake", "SELECT run_id FROM runs")}
    told = {page.name for page in pages}
    assert told == {"index.html", f"{run_id}.html", f"{run_id}-validation.html"}


def test_an_expectation_that_only_warns_is_recorded_and_stops_nothing(
    score: Score, model: Path, tmp_path: Path
) -> None:
    broken_input(tmp_path / "input")

    assert score(job_of(tmp_path, model, contract=with_expectation("warning"))).scored == 3
    (told,) = rows(
        tmp_path / "lake", "SELECT passed, observed FROM validations WHERE kind = 'expectation'"
    )
    assert told == {"passed": False, "observed": "6"}


def test_too_many_refused_rows_shut_the_gate_and_can_be_looked_at(
    score: Score, model: Path, tmp_path: Path
) -> None:
    broken_input(tmp_path / "input")

    with pytest.raises(GateRefused, match="3 of 6 rows"):
        score(job_of(tmp_path, model, contract={**CONTRACT, "max_quarantined": 0.49}))

    assert len(rows(tmp_path / "lake", "SELECT key FROM quarantine")) == 3
    assert not (tmp_path / "lake" / "predictions_tiny").exists()


EVENT = {"run_id": "r", "event": 0, "state": "started"}


def test_a_transaction_commits_once(spark: SparkSession, tmp_path: Path) -> None:
    for _ in range(2):
        delta.append_values([EVENT], LakeLocation(tmp_path), RUNS, "same")

    assert delta.read(spark, LakeLocation(tmp_path), "runs").count() == 1
    assert runs.last_event(LakeLocation(tmp_path), "other") is None


def test_of_two_drivers_with_one_transaction_the_later_one_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    delta.append_values([EVENT], LakeLocation(tmp_path), RUNS, "before")
    seen_before = deltalake.DeltaTable(tmp_path / "runs")
    delta.append_values([EVENT], LakeLocation(tmp_path), RUNS, "same")
    monkeypatch.setattr(delta, "_opened", lambda *_: seen_before)  # it looked too early

    with pytest.raises(RunFailed, match="runs cannot be written"):
        delta.append_values([EVENT], LakeLocation(tmp_path), RUNS, "same")
    delta.append_values(
        [EVENT], LakeLocation(tmp_path), RUNS, "another"
    )  # the same early look hurts nobody else

    assert live_rows.rows(deltalake.DeltaTable(tmp_path / "runs")).num_rows == 3


def test_drivers_that_make_a_table_at_the_same_moment_all_write_to_it(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as drivers:
        made = [
            drivers.submit(delta.append_values, [EVENT], LakeLocation(tmp_path), RUNS, f"t{i}")
            for i in range(8)
        ]
    for one in made:
        one.result()

    assert live_rows.rows(deltalake.DeltaTable(tmp_path / "runs")).num_rows == 8


@given(
    batches=st.lists(
        st.tuples(st.integers(0, 3), st.integers(1, 50), st.booleans()), min_size=1, max_size=9
    )
)
@settings(max_examples=25)
def test_what_is_counted_is_what_was_committed_by_this_run(
    tmp_path_factory: pytest.TempPathFactory, batches: list[tuple[int, int, bool]]
) -> None:
    """Task, rows and whether its rows failed, batch by batch; another run's rows lie beside them."""
    lake = tmp_path_factory.mktemp("lake")
    kind = pa.struct([c.field for c in METER])
    for run_id in ("mine", "other"):
        for task, count, bad in batches:
            meter = {"application": "app", "task_id": task, "rows": count, "wall_s": 0.5}
            error = {"kind": "output", "message": "NaN"} if bad else None
            rows = pa.table(
                {
                    "run_id": [run_id] * count,
                    "unit": pa.array([task] * count, pa.int32()),
                    "error": pa.array([error] * count, ERROR_TYPE),
                    "warnings": pa.array([[]] * count, pa.list_(pa.string())),
                    "_meter": pa.array([meter] + [None] * (count - 1), kind),
                }
            )
            deltalake.write_deltalake(lake / "made", rows, mode="append")

    found = ledger.counted(LakeLocation(lake), "made", "mine")

    assert found.failed == sum(count for _, count, bad in batches if bad)
    assert found.scored == sum(count for _, count, bad in batches if not bad)
    assert {m["task_id"]: (m["rows"], m["wall_s"]) for m in found.meters} == {
        task: (
            sum(count for t, count, _ in batches if t == task),
            0.5 * sum(t == task for t, _, _ in batches),
        )
        for task in {task for task, _, _ in batches}
    }
    assert all(m["unit"] == m["task_id"] for m in found.meters)
