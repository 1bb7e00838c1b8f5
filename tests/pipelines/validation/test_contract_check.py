"""What validation says of rows and of the gate: one scan, reasons, thresholds, references, freshness."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession

from millrace.pipelines.console.progress import Progress
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.query.engine import query
from millrace.pipelines.run.runner import run
from millrace.pipelines.validation import aggregate_scan, contract_check, violations
from millrace.pipelines.validation.aggregate_scan import Scanned
from millrace.pipelines.validation.expectations import Expectations
from millrace.pipelines.validation.verdict import RuleResult, Verdict, gate, rule_result
from millrace.schemas.contract import Contract
from millrace.schemas.errors import GateRefused
from millrace.schemas.rule import WELL_FORMED
from tests.helpers import image_table, images, job_of, pixel_mlp, write_parquet

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
COLUMNS = {"id": {"type": "bigint"}, "n": {"type": "int"}, "text": {"type": "string"}}


def examined(
    rows: DataFrame, contract: Mapping[str, Any], references: Mapping[str, DataFrame] | None = None
) -> Verdict:
    """The verdict on a frame."""
    declared = Contract.model_validate({"columns": COLUMNS, **contract})
    rules = declared.row_rules(())
    expectations = Expectations(rows, declared)
    values = dict(violations.breaking_values(rows, rules, references or {}))
    asked = (expectations, expectations.validate_with_spark)
    return contract_check.examine(rows, (declared, rules), values, asked, NOW)[1]


@pytest.fixture
def rows(spark: SparkSession) -> DataFrame:
    """Ten rows: n is 0 to 9, the text of the last is no number."""
    return spark.createDataFrame(
        [(i, i, str(i) if i < 9 else "nine") for i in range(10)], "id bigint, n int, text string"
    ).coalesce(1)


@pytest.mark.spark
def test_a_run_tells_of_every_reason_what_was_observed_and_what_great_expectations_says(
    spark: SparkSession, tmp_path: Path
) -> None:
    pixels = [*images(8), b"short", images(1, seed=5)[0]]
    table = image_table(pixels).append_column(
        "note", pa.array([None, "secret", "other"] + ["ok"] * 7)
    )
    table = table.append_column("n", pa.array([*range(9), 99], pa.int32()))
    write_parquet(tmp_path / "input", table)
    expectations = [
        {"expect": "ExpectColumnValuesToBeBetween", "column": "n", "max_value": 9, "mostly": 0.8},
        {"expect": "ExpectColumnValuesToBeInSet", "column": "note", "value_set": ["ok"], "severity": "warning"},
        {"expect": "ExpectColumnValuesToNotBeNull", "column": "note", "severity": "info"},
        {"expect": "ExpectColumnMaxToBeBetween", "column": "n", "max_value": 99},
        {"expect": "ExpectColumnMedianToBeBetween", "column": "n", "max_value": 99},
    ]  # fmt: skip
    contract = {
        "columns": {
            "id": {"type": "bigint", "nullable": False, "unique": True},
            "pixels": {"type": "binary", "nullable": False},
            "note": {"type": "string"},
            "n": {"type": "int"},
        },
        "rules": [
            {"name": "whole", "holds": "length(pixels) = 16 AND note <> 'x'", "on_null": "pass"},
            {"name": "not_secret", "holds": "note <> 'secret'", "on_null": "pass"},
        ],
        "expectations": expectations,
        "max_quarantined": 3,
        "redact": ["note"],
    }
    job = job_of(tmp_path, pixel_mlp(tmp_path / "model"), contract=contract)

    summary = run(spark, job, Progress(quiet=True))

    assert (summary.scored, summary.quarantined) == (7, 3)
    lake = tmp_path / "lake"
    hashed = f"sha256 {hashlib.sha256(b'secret').hexdigest()[:16]}"
    fine = f"sha256 {hashlib.sha256(b'ok').hexdigest()[:16]}"
    between, in_set = "n.ExpectColumnValuesToBeBetween", "note.ExpectColumnValuesToBeInSet"
    told = {
        json.loads(row["key"])["id"]: row
        for row in query(
            LakeLocation(lake), "SELECT key, payload, reasons FROM quarantine"
        ).to_pylist()
    }
    observed = {
        key: [(r["rule"], r["severity"], json.loads(r["observed"])) for r in row["reasons"]]
        for key, row in told.items()
    }
    binary = f"5 bytes, sha256 {hashlib.sha256(b'short').hexdigest()[:16]}, text"
    assert observed == {
        1: [("not_secret", "error", {"note": hashed}), (in_set, "warn", {"note": hashed})],
        8: [("whole", "error", {"pixels": binary, "note": fine})],
        9: [(between, "error", {"n": 99})],
    }
    assert json.loads(told[1]["payload"])["note"] == hashed
    assert "secret" not in told[1]["payload"]
    kept = query(
        LakeLocation(lake),
        "SELECT id, warnings FROM tiny_current WHERE array_length(warnings) > 0 ORDER BY id",
    )
    assert kept.to_pylist() == [{"id": 2, "warnings": [in_set]}]
    results = query(LakeLocation(lake), "SELECT * FROM validations").to_pylist()
    printed = {r["rule"]: r["fingerprint"] for r in results}
    reasons = [reason for row in told.values() for reason in row["reasons"]]
    assert {r["rule"]: r["fingerprint"] for r in reasons}.items() <= printed.items()
    theirs = {r["rule"]: json.loads(r["result"]) for r in results if r["result"]}
    assert len(theirs) == len(expectations)
    assert theirs[between]["success"] is True
    assert theirs[between]["result"]["unexpected_count"] == 1
    assert theirs[between]["expectation_config"]["severity"] == "critical"
    assert theirs["note.ExpectColumnValuesToNotBeNull"]["success"] is False
    assert theirs["n.ExpectColumnMaxToBeBetween"]["result"]["observed_value"] == 99
    assert theirs["n.ExpectColumnMedianToBeBetween"]["success"] is True
    index = LakeLocation(lake).data_docs(summary.run_id)
    (page,) = (index.parent / "validations").rglob("*.html")
    shown = page.read_text("utf-8")
    assert "values must be less than or equal to" in re.sub(r"<[^>]+>|\s+", " ", shown)
    assert "secret" not in shown


@pytest.mark.spark
def test_all_rules_and_expectations_take_one_query_of_the_columns_that_they_read(
    spark: SparkSession, tmp_path: Path
) -> None:
    table = pa.table({"id": [1, 2], "n": [1, 2], "text": ["a", "b"], "payload": [b"x", b"y"]})
    rows = spark.read.parquet(str(write_parquet(tmp_path, table)))
    columns = {"id": {"type": "bigint"}, "n": {"type": "bigint"}, "text": {"type": "string"}}
    columns |= {"payload": {"type": "binary"}}
    contract = Contract.model_validate(
        {
            "columns": columns,
            "rules": [{"name": f"r{i}", "holds": f"n > {i}"} for i in range(20)],
            "expectations": [
                {"expect": "ExpectColumnValuesToBeBetween", "column": "n", "min_value": 2},
                {"expect": "ExpectColumnValuesToMatchRegex", "column": "text", "regex": "a"},
                {"expect": "ExpectColumnMeanToBeBetween", "column": "n", "min_value": 2},
                {"expect": "ExpectTableRowCountToBeBetween", "min_value": 3},
            ],
        }
    )
    tracker = spark.sparkContext.statusTracker()
    spark.sparkContext.setJobGroup("bare", "")
    rows.agg({"n": "max"}).collect()
    spark.sparkContext.setJobGroup("all", "")
    expectations, rules = Expectations(rows, contract), contract.row_rules(())

    found, verdict = contract_check.examine(
        rows, (contract, rules), {}, (expectations, expectations.validate_with_spark), NOW
    )

    spark.sparkContext.setJobGroup("after", "")
    assert len(tracker.getJobIdsForGroup("all")) == len(tracker.getJobIdsForGroup("bare"))
    assert [r.failed for r in verdict.results[-4:-2]] == [1, 1]
    assert [r.passed for r in verdict.results[-2:]] == [False, False]
    query_ = aggregate_scan.aggregated(
        violations.marked(rows, found), rules, expectations.aggregates
    )
    plan = query_._jdf.queryExecution().executedPlan().toString()
    assert "ReadSchema: struct<n:bigint,text:string>" in plan


@pytest.mark.spark
def test_a_rule_that_spark_cannot_compute_shuts_the_gate_and_the_others_are_counted(
    rows: DataFrame,
) -> None:
    contract = {
        "rules": [
            {"name": "number", "holds": "CAST(text AS INT) >= 0"},
            {"name": "small", "holds": "n < 5"},
        ],
        "expectations": [
            {
                "expect": "ExpectColumnValueZScoresToBeLessThan",
                "column": "text",
                "threshold": 5,
                "double_sided": True,
            },
            {"expect": "ExpectColumnValuesToNotBeNull", "column": "id"},
        ],
        "max_quarantined": 1.0,
    }

    verdict = examined(rows, contract)

    number, small, incomparable, present = verdict.results
    assert (number.failed, number.passed) == (None, False)
    assert "could not be computed" in str(number.observed)
    assert (small.failed, small.passed, present.passed) == (5, False, True)
    assert incomparable.passed is False
    assert set(verdict.uncomputed) == {"number", incomparable.rule}
    assert verdict.quarantined == 5
    with pytest.raises(GateRefused, match="number: could not be computed.*expectation text"):
        gate(verdict)


@pytest.mark.spark
def test_a_rule_shuts_the_gate_where_it_has_a_mostly_that_is_missed(rows: DataFrame) -> None:
    def gate(mostly: float | None) -> list[str]:
        rule = {"name": "small", "holds": "n < 9"} | ({"mostly": mostly} if mostly else {})
        return examined(rows, {"rules": [rule], "max_quarantined": 1.0}).refusals

    assert gate(None) == []
    assert gate(0.9) == []
    assert gate(0.91) == ["small: 1 of 10 rows break it, more than its mostly 0.91 lets through"]


@pytest.mark.spark
def test_values_that_another_table_does_not_have_and_ages_are_told(
    spark: SparkSession,
) -> None:
    at = NOW - timedelta(hours=3)
    rows = spark.createDataFrame(
        [(1, at), (2, at - timedelta(days=9)), (None, None), (4, NOW + timedelta(days=1)), (4, at)],
        "id bigint, at timestamp",
    )
    others = spark.createDataFrame([(1,), (2,), (2,), (None,)], "key bigint")
    columns = {
        "id": {"type": "bigint", "references": {"path": "others", "column": "key"}},
        "at": {"type": "timestamp", "fresh_within_h": 4},
    }

    verdict = examined(rows, {"columns": columns, "max_quarantined": 2}, {"id.references": others})

    refers, fresh = verdict.results
    assert (refers.kind, refers.failed, verdict.quarantined) == ("reference", 2, 2)
    assert (fresh.kind, fresh.passed, fresh.severity) == ("freshness", True, "critical")
    assert fresh.observed == "2026-11-25T09:00:00+00:00, 3.00 hours old"
    assert verdict.refusals == []
    columns["at"]["fresh_within_h"] = 2
    old = examined(rows, {"columns": columns, "max_quarantined": 1}, {"id.references": others})
    assert [text.split(":")[0] for text in old.refusals] == ["at.fresh", "2 of 5 rows (40.0%) break the contract, more than max_quarantined 1 rows"]  # fmt: skip


def verdict_of(quarantined: int, rows: int, most: float) -> Verdict:
    broken = RuleResult("r", "row", "error", ("n",), "n > 0", rows, quarantined, 0.0, False, "f")  # fmt: skip
    return Verdict(rows, quarantined, (broken,), most, "suite")


@given(rows=st.integers(0, 1000), refused=st.integers(0, 1000), most=st.integers(0, 1000))
def test_the_gate_opens_up_to_so_many_rows_or_such_a_share(
    rows: int, refused: int, most: int
) -> None:
    refused = min(refused, rows)
    assert (verdict_of(refused, rows, most).refusals == []) == (refused <= most)
    share = most / 1000
    open_ = rows == 0 or refused / rows <= share
    assert (verdict_of(refused, rows, share).refusals == []) == open_


def test_records_that_could_not_be_parsed_satisfy_no_share_of_all_rows() -> None:
    contract = Contract.model_validate(
        {
            "columns": {"n": {"type": "bigint"}},
            "rules": [{"name": "small", "holds": "n < 9", "mostly": 0.95}],
        }
    )
    rules = {rule.name: rule for rule in contract.row_rules((), malformed=True)}

    def passed(unread: int, name: str = "small") -> bool:
        seen = Scanned(100, unread, {WELL_FORMED: unread, "small": 5}, {}, {})
        return rule_result(rules[name], seen).passed

    assert passed(0)
    assert not passed(5)
    assert passed(0, WELL_FORMED)
