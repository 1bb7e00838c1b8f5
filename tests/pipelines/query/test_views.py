from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlglot
from deltalake import DeltaTable
from pyspark.sql import SparkSession

import millrace.schemas.tables
from millrace.pipelines.lake import delta
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.query.engine import query
from millrace.pipelines.query.views import ROLE, View, for_spark, register, views
from millrace.schemas.contract import Contract
from millrace.schemas.errors import QueryError
from millrace.schemas.model import Signature
from millrace.schemas.tables import LEDGER, QUARANTINE, REPLAYS, RUNS, VALIDATIONS, predictions

SHIPPED = [
    "cost_by_day",
    "cost_by_model",
    "cost_by_partition",
    "cost_by_run",
    "cost_by_tag",
    "cost_per_million_tokens",
    "cost_per_thousand_rows",
    "energy_by_run",
    "quarantine_reasons",
    "replayed",
    "runs_current",
    "skew",
    "waste",
    "what_if",
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
    on = more.pop("on", {})
    return [
        {
            **row,
            **more,
            **on.get(meter, {}),
            "SkuMeter": meter,
            "EffectiveCost": price and Decimal(price),
        }
        for meter, price in prices.items()
    ]


def priced(sku: str, *, core_s: int, memory_s: int, drawn: str | None) -> dict[str, dict[str, Any]]:
    """What a machine's price says on each meter's row; energy is on the core's."""
    about = {"SkuId": sku, "PricingCategory": "Standard", "x_PriceBookVersion": "book"}
    energy = {"x_EnergyWh": 0.5, "x_EnergyWhLow": 0.25, "x_EnergyWhHigh": 0.75, "x_CarbonG": 0.125}
    return {
        "Core": {**about, "SkuPriceId": f"{sku}/east/Core", "ConsumedQuantity": Decimal(core_s)}
        | ({**energy, "x_EnergyMethod": drawn, "x_IntensitySource": "grid"} if drawn else {}),
        "Memory": {
            **about,
            "SkuPriceId": f"{sku}/east/Memory",
            "ConsumedQuantity": Decimal(memory_s),
        },
    }


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
TEAM = [{"key": "team", "value": "mail"}, {"key": "env", "value": "prod"}]
# Another job, on two machines; three partitions of a stage, of which one is slow.
AGAIN = {"x_RunId": "sms-d", "x_Job": "sms", "x_AppId": "app-3", "Tags": TEAM}
SPENT += [
    *spent(1, "useful", 2000, "2", **AGAIN, x_PartitionId=0, x_RowsOut=5, x_Tokens=250,
           on=priced("small", core_s=2, memory_s=4, drawn="tdp")),
    *spent(2, "useful", 3000, "3", **AGAIN, x_PartitionId=1, x_RowsOut=5, x_Tokens=250,
           on=priced("small", core_s=3, memory_s=6, drawn="rapl")),
    *spent(3, "useful", 9000, "18", **AGAIN, x_PartitionId=2, x_RowsOut=10, x_Tokens=500,
           ChargePeriodStart=at(0) + timedelta(days=1), on=priced("large", core_s=9, memory_s=9, drawn=None)),
    *spent(4, "speculative", 500, "1", **AGAIN, x_StageId=1, x_Committed=False),
    *spent(5, "recomputed", 250, "0.5", **AGAIN, x_StageId=1, x_Committed=False),
]  # fmt: skip
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
EVENTS += [{"run_id": "sms-d", "number": 1, "event": 0, "job": "sms", "state": "started"}]
for event, model in ((0, "cnn:1"), (3, "cnn:1"), (5, "bert:2")):
    EVENTS[event]["model"] = model


def refused(run: str, *rules: str) -> dict[str, Any]:
    reasons = [{"rule": r, "severity": "error", "columns": ["c"], "message": "m"} for r in rules]
    return {"run_id": run, "job": "digits", "unit": 0, "key": "{}", "reasons": reasons}


REFUSED = [
    refused("digits-a", "not_blank", "not_huge"),
    refused("digits-a", "not_blank"),
    refused("digits-b", "not_blank"),
    refused(
        "digits-validated", "not_blank"
    ),  # by `millrace validate`: the table of runs has no such
]
# A warning of a row that was quarantined for another rule.
REFUSED[0]["reasons"].append(
    {"rule": "short", "severity": "warn", "columns": ["c"], "message": "m"}
)


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
    schema = delta.spark_schema(pa.schema(fields))
    target = str(lake / table.name)
    spark.createDataFrame(frame, schema).coalesce(1).write.format("delta").save(target)


@pytest.fixture(scope="module")
def lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lake")
    shared = ((LEDGER, SPENT), (RUNS, EVENTS), (QUARANTINE, REFUSED), (REPLAYS, REPLAYED))
    for table, rows in shared:
        delta.append_values(rows, LakeLocation(folder), table, "test")
    delta.append_values([{"rule": "not_blank"}], LakeLocation(folder), VALIDATIONS, "test")
    write_predictions(spark, folder)
    (folder / "_staging" / "_delta_log").mkdir(parents=True)
    return folder


@pytest.fixture(scope="module")
def both(spark: SparkSession, lake: Path) -> Both:
    """The rows of a view, which Spark and DataFusion must agree on, in a fixed order."""
    register(spark, LakeLocation(lake))

    def rows(view: str) -> list[dict[str, Any]]:
        ours = in_order(query(LakeLocation(lake), f"SELECT * FROM {view}"))
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
        ("sms-d", 0, "started", None, None),
    ]
    assert list(rows[0]) == [column.name for column in RUNS.columns]


@pytest.mark.spark
def test_cost_by_run_counts_seconds_once_and_money_for_both_meters(both: Both) -> None:
    first, second, _ = both("cost_by_run")
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
    rows = [row for row in both("cost_by_partition") if row["job"] == "digits"]
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
    first, second, _ = both("cost_per_thousand_rows")
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
        ("sms-d", "recomputed", 0.25, Decimal("0.55")),
        ("sms-d", "speculative", 0.5, Decimal("1.1")),
    ]
    shares = [row["share_of_cost"] for row in rows]
    of = [0.33 / 2.42, 0.11 / 2.42, 0.44 / 2.42, 0.55 / 26.95, 1.1 / 26.95]
    assert shares == pytest.approx(of, rel=1e-12)


@pytest.mark.spark
def test_energy_by_run_counts_each_watt_hour_once_and_is_null_where_it_is_not_known(
    both: Both,
) -> None:
    first, second, third = both("energy_by_run")
    assert pick([first, second], "energy_wh", "carbon_g", "counted_wh") == [(None, None, None)] * 2
    assert third == {
        "run_id": "sms-d",
        "job": "sms",
        "energy_wh": 1.0,
        "energy_wh_low": 0.5,
        "energy_wh_high": 1.5,
        "counted_wh": 0.5,
        "carbon_g": 0.25,
        "intensity_source": "grid",
        "wh_per_thousand_rows": 50.0,
        "carbon_g_per_thousand_rows": 12.5,
    }


@pytest.mark.spark
def test_cost_by_model_day_and_tag_are_the_same_money_otherwise_cut(both: Both) -> None:
    assert pick(both("cost_by_model"), "model", "job", "runs", "rows_scored", "cost") == [
        ("bert:2", "sms", 1, 20, Decimal("26.95")),
        ("cnn:1", "digits", 1, 0, None),
        ("cnn:1", "digits", 1, 150, Decimal("2.42")),
    ]
    days = pick(both("cost_by_day"), "day", "job", "slot_s", "cost")
    assert days == [
        (date(2025, 3, 1), "digits", 1.1, None),
        (date(2025, 3, 1), "digits", 22.0, Decimal("2.42")),
        (date(2025, 3, 1), "sms", 5.75, Decimal("7.15")),
        (date(2025, 3, 2), "sms", 9.0, Decimal("19.8")),
    ]
    assert pick(both("cost_by_tag"), "tag", "value", "runs", "cost", "currency") == [
        ("env", "prod", 1, Decimal("26.95"), "USD"),
        ("team", "mail", 1, Decimal("26.95"), "USD"),
    ]


@pytest.mark.spark
def test_cost_per_million_tokens_is_of_runs_with_tokens(both: Both) -> None:
    (row,) = both("cost_per_million_tokens")
    assert (row["run_id"], row["tokens"]) == ("sms-d", 1000)
    assert row["cost_per_million_tokens"] == pytest.approx(26_950, rel=1e-12)
    assert row["slot_s_per_million_tokens"] == 14_750


@pytest.mark.spark
def test_skew_is_the_slowest_partition_over_the_median_one(both: Both) -> None:
    rows = [row for row in both("skew") if row["run_id"] == "sms-d"]
    assert pick(rows, "partitions", "slowest_s", "median_s", "skew") == [(3, 9.0, 3.0, 3.0)]


@pytest.mark.spark
def test_what_if_prices_the_cores_that_were_held_at_each_price_that_is_known(both: Both) -> None:
    rows = [row for row in both("what_if") if row["run_id"] == "sms-d"]
    assert pick(rows, "core_s", "sku", "region", "cost_if", "currency") == [
        (14.0, "large", "east", pytest.approx(14 * 19.8 / 9), "USD"),
        (14.0, "small", "east", pytest.approx(14 * 5.5 / 5), "USD"),
    ]
    assert {row["core_s"] for row in both("what_if") if row["job"] == "digits"} == {None}


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
    assert sorted(rules) == [["not_blank"], ["not_blank", "not_huge", "short"]]
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
    assert sorted(register(spark, LakeLocation(lake))) == sorted(
        [*shared, *SHIPPED, "digits_current"]
    )


@pytest.mark.spark
def test_key_metadata_survives_sparks_write_and_a_later_append_without_it(
    spark: SparkSession, tmp_path: Path
) -> None:
    write_predictions(spark, tmp_path)
    path = str(tmp_path / "predictions_digits")
    fields = {field.name: field.metadata for field in DeltaTable(path).schema().fields}
    assert fields["image"] == {"comment": "key", ROLE: "key"}
    assert fields["label"][ROLE] != "key"
    assert ROLE == millrace.schemas.tables.ROLE  # said twice, for start-up time
    again = spark.read.format("delta").load(path)
    assert again.schema["Site"].metadata[ROLE] == "key"
    plain = spark.createDataFrame(again.limit(1).collect(), delta.spark_schema(pa_plain(again)))
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
    delta.append_values(EVENTS, LakeLocation(tmp_path), RUNS, "test")
    assert register(spark, LakeLocation(tmp_path)) == ["predictions_digits", "runs", "runs_current"]
    with pytest.raises(QueryError, match="needs to know the key of table predictions_digits"):
        query(LakeLocation(tmp_path), "SELECT * FROM digits_current")


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
    root = Path(__file__).resolve().parents[3]
    archive = tmp_path / "millrace.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.write(root / "millrace" / "__init__.py", "millrace/__init__.py")
        for package in ("schemas", "pipelines"):
            for file in sorted((root / package).rglob("*")):
                if file.suffix in {".py", ".sql"}:
                    packed.write(file, Path("millrace") / file.relative_to(root))
    code = (
        f"import sys; sys.path.insert(0, {str(archive)!r})\n"
        "import millrace.pipelines.query.views as v; assert '.zip' in v.__file__\n"
        "print(*sorted(v.views(['ledger', 'runs', 'quarantine', 'replays'])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == SHIPPED


def test_a_view_needs_what_a_parser_finds_in_it() -> None:
    folder = Path(millrace.schemas.tables.__file__).parents[1] / "views"
    for name in SHIPPED:
        text = (folder / f"{name}.sql").read_text("utf-8")
        found = {table.name for table in sqlglot.parse_one(text).find_all(sqlglot.exp.Table)}
        assert View(name, text).needs == found
