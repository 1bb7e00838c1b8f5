from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

import schemas.tables
from pipelines import sink
from pipelines.query import query
from pipelines.views import ROLE, View, for_spark, register, views
from schemas.contract import Contract
from schemas.errors import QueryError
from schemas.model import Signature
from schemas.tables import LEDGER, QUARANTINE, REPLAYS, RUNS, VALIDATIONS, predictions

SHIPPED = [
    "cost_by_partition",
    "cost_by_run",
    "cost_per_thousand_rows",
    "quarantine_reasons",
    "replayed",
    "runs_current",
    "waste",
]
Both = Callable[[str], list[dict[str, Any]]]


def at(minute: int) -> datetime:
    return datetime(2025, 3, 1, 12, minute, tzinfo=UTC)


def spent(task: int, kind: str, ms: int, core: str | None, **more: Any) -> list[dict[str, Any]]:
    """The two rows of one attempt and kind; memory costs a tenth of what the core does."""
    prices = {"Core": core, "Memory": core and str(Decimal(core) / 10)}
    row = {
        "x_RunId": "digits-a",
        "x_Job": "digits",
        "x_Unit": 0,
        "x_AppId": "app-1",
        "x_StageId": 2,
        "x_PartitionId": 1,
        "x_TaskId": task,
        "x_CostKind": kind,
        "x_Committed": True,
        "x_SlotMs": ms,
        "ChargePeriodStart": at(task),
        "ChargePeriodEnd": at(task + 1),
        "BillingCurrency": "USD" if core else None,
    }
    return [
        {**row, **more, "SkuMeter": meter, "EffectiveCost": price and Decimal(price)}
        for meter, price in prices.items()
    ]


SPENT = [
    *spent(11, "useful", 7000, "0.7", x_PartitionId=0, x_RowsIn=100, x_RowsOut=97),
    *spent(11, "model_load", 2000, "0.2", x_PartitionId=0),
    *spent(12, "failed", 3000, "0.3", x_Committed=False),
    *spent(13, "useful", 5000, "0.5", x_RowsIn=50, x_RowsOut=50),
    *spent(13, "unattributed", 1000, "0.1"),
    *spent(14, "useful", 4000, "0.4", x_RowsIn=50, x_RowsOut=50, x_Committed=False),
    # what three rows would have cost: in no sum, but they are scored
    *spent(
        0,
        "saved",
        900,
        "0.9",
        x_TaskId=None,
        x_PartitionId=None,
        x_RowsIn=3,
        x_RowsOut=3,
        ChargePeriodStart=None,
        ChargePeriodEnd=None,
    ),
    *spent(20, "useful", 1100, None, x_RunId="digits-b", x_AppId="app-2", x_RowsOut=0),
]
EVENTS = [
    {"run_id": "digits-a", "number": 1, "event": 0, "job": "digits", "state": "started"},
    {
        "run_id": "digits-a",
        "event": 2,
        "job": "digits",
        "state": "done",
        "at": at(9),
        "scored": 147,
    },
    # the clock went back between two machines: the event's number still decides
    {"run_id": "digits-a", "event": 1, "job": "digits", "state": "resumed", "at": at(30)},
    {
        "run_id": "digits-b",
        "number": 2,
        "event": 0,
        "job": "digits",
        "state": "started",
        "at": at(20),
    },
    {"run_id": "digits-c", "number": 2, "event": 0, "job": "other", "state": "started"},
]


def refused(run: str, *rules: str) -> dict[str, Any]:
    reasons = [{"rule": r, "severity": "error", "columns": ["c"], "message": "m"} for r in rules]
    return {"run_id": run, "job": "digits", "unit": 0, "key": "{}", "reasons": reasons}


REFUSED = [
    refused("digits-a", "not_blank", "not_huge"),
    refused("digits-a", "not_blank"),
    refused("digits-b", "not_blank"),
]


def replayed(key: str | None, left_out: str | None = None, *counts: int) -> list[dict[str, Any]]:
    """A key of a replay as planned and, with ``counts`` of scored, failed and refused rows, as ended."""
    about = {"run_id": "digits-c", "job": "digits", "replayed_run": "digits-a", "key": key}
    planned = {**about, "state": "planned", "rows_before": 1, "left_out": left_out}
    ended = dict(zip(("scored", "failed", "refused"), counts, strict=False))
    return [planned, *([{**about, "state": "done", **ended}] if counts else [])]


REPLAYED = [
    *replayed("{}", None, 2, 0, 0),
    *replayed("refused", None, 0, 0, 1),
    *replayed("failed", None, 0, 1, 0),
    *replayed("part", None, 1, 0, 1),
    *replayed("absent", None, 0, 0, 0),
    *replayed("killed"),
    *replayed("before", "scored"),
    *replayed("null", "no key"),
    *replayed(None, "stranger"),
]


def write_predictions(spark: SparkSession, lake: Path, *, keyed: bool = True) -> None:
    """Scores of two keys in three runs; column ``Site`` needs its case kept."""
    contract = Contract.model_validate(
        {"columns": {"image": {"type": "bigint"}, "Site": {"type": "string"}}}
    )
    output = {"label": {"type": "int"}}
    signature = Signature.model_validate(
        {"inputs": {"pixels": {"type": "binary"}}, "outputs": output}
    )
    table = predictions("predictions_digits", ("image", "Site"), (), contract, signature)
    fields = list(table.arrow_schema)
    if not keyed:
        fields = [field.remove_metadata() for field in fields]
    error = {"kind": "decode", "message": "too short"}
    rows = [
        (1, "x", 3, "digits-a", 0, at(50), None),  # by a clock that was ahead
        (1, "x", 5, "digits-c", 0, at(7), None),  # same number as digits-b: run_id breaks the tie
        (1, "x", 7, "digits-b", 0, at(7), None),
        (2, "x", 2, "digits-a", 0, at(1), None),
        (2, "x", None, "digits-b", 0, at(7), error),  # failed: the older score stays
        (2, "y", None, "digits-b", 0, at(7), error),  # never scored
    ]
    frame = [(*r[:5], "cnn:1", "d", r[5], [], r[6], None, None) for r in rows]
    schema = sink.spark_schema(pa.schema(fields))
    target = str(lake / table.name)
    spark.createDataFrame(frame, schema).coalesce(1).write.format("delta").save(target)


@pytest.fixture(scope="module")
def lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lake")
    shared = ((LEDGER, SPENT), (RUNS, EVENTS), (QUARANTINE, REFUSED), (REPLAYS, REPLAYED))
    for table, rows in shared:
        sink.append_values(rows, folder, table, "test")
    sink.append_values([{"rule": "not_blank"}], folder, VALIDATIONS, "test")
    write_predictions(spark, folder)
    (folder / "_staging" / "_delta_log").mkdir(parents=True)
    return folder


@pytest.fixture(scope="module")
def both(spark: SparkSession, lake: Path) -> Both:
    """The rows of a view, which Spark and DataFusion must agree on, in a fixed order."""
    register(spark, lake)

    def rows(view: str) -> list[dict[str, Any]]:
        ours = in_order(query(lake, f"SELECT * FROM {view}"))
        sparks = in_order(spark.table(view).toArrow())
        assert list(ours[0]) == list(sparks[0])
        for one, other in zip(ours, sparks, strict=True):
            assert one == other  # numbers too: each is computed in the same steps
            assert [type(v) for v in one.values()] == [type(v) for v in other.values()]
        return ours

    return rows


def in_order(table: pa.Table) -> list[dict[str, Any]]:
    return sorted(table.to_pylist(), key=lambda row: [str(value) for value in row.values()])


def pick(rows: list[dict[str, Any]], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in rows]


@pytest.mark.spark
def test_runs_current_is_the_largest_event_whatever_the_clock_says(both: Both) -> None:
    rows = both("runs_current")
    assert pick(rows, "run_id", "event", "state", "scored", "at") == [
        ("digits-a", 2, "done", 147, at(9)),
        ("digits-b", 0, "started", None, at(20)),
        ("digits-c", 0, "started", None, None),
    ]
    assert list(rows[0]) == [column.name for column in RUNS.columns]


@pytest.mark.spark
def test_cost_by_run_counts_seconds_once_and_money_for_both_meters(both: Both) -> None:
    first, second = both("cost_by_run")
    assert (
        first
        == {
            "run_id": "digits-a",
            "job": "digits",
            "started_at": at(11),
            "ended_at": at(15),
            "rows_scored": 150,  # 97 + 50 + 3 that needed no model; the 50 that are not in the table do not count
            "slot_s": 22.0,
            "useful_s": 16.0,
            "cost": Decimal("2.42"),
            "currency": "USD",
        }
    )
    assert pick([second], "rows_scored", "slot_s", "cost", "currency") == [(0, 1.1, None, None)]


@pytest.mark.spark
def test_cost_by_partition_splits_seconds_by_kind(both: Both) -> None:
    rows = both("cost_by_partition")
    where = ("run_id", "app_id", "stage_id", "partition_id", "attempts", "rows_scored", "cost")
    assert pick(rows, *where) == [
        ("digits-a", "app-1", 2, 0, 1, 97, Decimal("0.99")),
        ("digits-a", "app-1", 2, 1, 3, 50, Decimal("1.43")),
        ("digits-b", "app-2", 2, 1, 1, 0, None),
    ]
    kinds = ("slot_s", "useful_s", "model_load_s", "failed_s", "unattributed_s")
    assert pick(rows, *kinds) == [(9, 7, 2, 0, 0), (13, 9, 0, 3, 1), (1.1, 1.1, 0, 0, 0)]
    others = ("startup_s", "validation_s", "read_s", "write_s", "killed_s")
    assert pick(rows, *others) == [(0, 0, 0, 0, 0)] * 3
    assert all(r["slot_s"] == sum(r[k] for k in (*kinds[1:], *others)) for r in rows)


@pytest.mark.spark
def test_cost_per_thousand_rows_is_null_where_nothing_was_scored(both: Both) -> None:
    first, second = both("cost_per_thousand_rows")
    assert first["cost_per_thousand_rows"] == pytest.approx(2.42 * 1000 / 150, rel=1e-12)
    assert first["slot_s_per_thousand_rows"] == pytest.approx(22 * 1000 / 150, rel=1e-12)
    assert pick([second], "cost_per_thousand_rows", "slot_s_per_thousand_rows") == [(None, None)]


@pytest.mark.spark
def test_waste_names_what_was_paid_for_nothing_and_its_share(both: Both) -> None:
    rows = both("waste")
    assert pick(rows, "run_id", "kind", "slot_s", "cost") == [
        ("digits-a", "failed", 3.0, Decimal("0.33")),
        ("digits-a", "unattributed", 1.0, Decimal("0.11")),
        ("digits-a", "uncommitted", 4.0, Decimal("0.44")),
    ]
    shares = [row["share_of_cost"] for row in rows]
    assert shares == pytest.approx([0.33 / 2.42, 0.11 / 2.42, 0.44 / 2.42], rel=1e-12)


@pytest.mark.spark
def test_quarantine_reasons_counts_a_row_under_every_rule_it_broke(both: Both) -> None:
    assert pick(both("quarantine_reasons"), "job", "rule", "severity", "refused", "runs") == [
        ("digits", "not_blank", "error", 3, 2),
        ("digits", "not_huge", "error", 1, 1),
    ]


@pytest.mark.spark
def test_replayed_has_the_old_reasons_the_new_run_and_the_outcome_of_each_row(both: Both) -> None:
    rows = both("replayed")
    assert {row["key"]: row["outcome"] for row in rows} == {
        "{}": "scored", "refused": "refused again", "failed": "failed", "part": "scored in part",
        "absent": "not in the source", "killed": "not finished",
        "before": "left out: scored already", "null": "left out: no key",
    }  # fmt: skip
    twins = [row for row in rows if row["key"] == "{}"]
    rules = [[reason["rule"] for reason in row["reasons"]] for row in twins]
    assert sorted(rules) == [["not_blank"], ["not_blank", "not_huge"]]
    assert {row["run_id"] for row in rows} == {"digits-c"}


@pytest.mark.spark
def test_job_current_is_the_latest_good_score_of_each_key(both: Both) -> None:
    rows = both("digits_current")
    assert pick(rows, "image", "Site", "label", "run_id") == [
        (1, "x", 5, "digits-c"),
        (2, "x", 2, "digits-a"),
    ]
    assert list(rows[0])[:4] == ["image", "Site", "label", "run_id"]
    assert not {"error", "_meter", "newest"} & set(rows[0])


@pytest.mark.spark
def test_register_names_every_table_and_view_and_leaves_out_private_folders(
    spark: SparkSession, lake: Path
) -> None:
    shared = ["ledger", "predictions_digits", "quarantine", "replays", "runs", "validations"]
    assert sorted(register(spark, lake)) == sorted([*shared, *SHIPPED, "digits_current"])


@pytest.mark.spark
def test_key_metadata_survives_sparks_write_and_a_later_append_without_it(
    spark: SparkSession, tmp_path: Path
) -> None:
    write_predictions(spark, tmp_path)
    path = str(tmp_path / "predictions_digits")
    fields = {field.name: field.metadata for field in DeltaTable(path).schema().fields}
    assert fields["image"] == {"comment": "key", ROLE: "key"}
    assert fields["label"][ROLE] != "key"
    assert ROLE == schemas.tables.ROLE  # said twice, for start-up time
    again = spark.read.format("delta").load(path)
    assert again.schema["Site"].metadata[ROLE] == "key"
    plain = spark.createDataFrame(again.limit(1).collect(), sink.spark_schema(pa_plain(again)))
    plain.write.format("delta").mode("append").save(path)
    assert {f.name: f.metadata for f in DeltaTable(path).schema().fields} == fields


def pa_plain(frame: Any) -> pa.Schema:
    """The frame's columns without their metadata."""
    return frame.limit(0).toArrow().schema.remove_metadata()


@pytest.mark.spark
def test_a_predictions_table_without_marked_keys_has_no_current_view(
    spark: SparkSession, tmp_path: Path
) -> None:
    write_predictions(spark, tmp_path, keyed=False)
    sink.append_values(EVENTS, tmp_path, RUNS, "test")
    assert register(spark, tmp_path) == ["predictions_digits", "runs", "runs_current"]
    with pytest.raises(QueryError, match="needs to know the key of table predictions_digits"):
        query(tmp_path, "SELECT * FROM digits_current")


def test_views_whose_tables_do_not_exist_yet_are_left_out() -> None:
    assert list(views(["runs", "labels"])) == ["runs_current"]
    assert list(views([])) == []


def test_a_view_comes_after_the_views_it_reads() -> None:
    order = list(views(["ledger", "runs", "predictions_a_b"]))
    assert order.index("cost_by_run") < order.index("waste")
    assert order.index("cost_by_run") < order.index("cost_per_thousand_rows")
    assert "a_b_current" in order


@pytest.mark.parametrize("taken", [["waste"], ["predictions_runs"]])
def test_a_table_cannot_take_the_name_of_a_shipped_view(taken: list[str]) -> None:
    with pytest.raises(QueryError, match="name"):
        views(["ledger", "runs", *taken])


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_view_says_first_what_a_row_is(name: str) -> None:
    view = views(["ledger", "runs", "quarantine", "replays"])[name]
    assert view.text.startswith("-- One ")
    assert for_spark(view.sql())


def test_names_with_quotes_cannot_break_out_of_a_job_view() -> None:
    view = View("v", "SELECT {columns} FROM {table} ORDER BY {key}", over='predictions_"x')
    sql = view.sql([('a"; --', {ROLE: "key"}), ("error", {})])
    assert sql == 'SELECT "a""; --" FROM "predictions_""x" ORDER BY "a""; --"'


def test_views_load_from_a_zip_as_spark_submit_ships_them(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    archive = tmp_path / "millrace.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for package in ("schemas", "pipelines"):
            for file in sorted((root / package).rglob("*")):
                if file.suffix in {".py", ".sql"}:
                    packed.write(file, file.relative_to(root))
    code = (
        f"import sys; sys.path.insert(0, {str(archive)!r})\n"
        "import pipelines.views as v; assert '.zip' in v.__file__\n"
        "print(*sorted(v.views(['ledger', 'runs', 'quarantine', 'replays'])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == SHIPPED
