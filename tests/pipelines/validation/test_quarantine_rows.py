"""Quarantined rows that Python writes, against those that Spark's SQL writes: the same texts."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from millrace.pipelines.lake import delta
from millrace.pipelines.validation import contract_check
from millrace.schemas.tables import QUARANTINE
from millrace.udfs.worker.quarantine_rows import java_double
from tests.conformance import rule_expressions
from tests.helpers import job_of

pytestmark = pytest.mark.spark
AT = datetime(2026, 11, 30, 12, tzinfo=UTC)
# Java 17 writes more digits of some doubles than name them, and Java 19 does not.
NUMBER = re.compile(r"(?<=[:{,])-?[0-9]+\.[0-9]+(?:E-?[0-9]+)?(?=[,}])")


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row whose doubles in texts are written as Python does."""

    def text(value: str) -> str:
        return NUMBER.sub(lambda found: java_double(float(found[0])), value)

    reasons = [
        {**one, "observed": one["observed"] and text(one["observed"])} for one in row["reasons"]
    ]
    return {**row, "payload": text(row["payload"]), "reasons": reasons}


def test_payloads_reasons_keys_and_hashes_are_those_that_spark_writes(
    spark: SparkSession, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = rule_expressions.rows(600, seed=7).drop_columns(["j", "m", "e"])
    odd = ["\x00\x1f\x7f", 'a"b\\c/', "\b\f\n\r\t", "\u2028é😀", "PK\x03\x04"]
    large = [
        b"\x89PNG\r\n\x1a\n" + b"x" * 4_000_001,
        b"%PDF-1.7",
        b"plain text\n",
        b"\x01\x02",
        b"",
    ]
    more = {"n": [900 + at for at in range(5)], "s": odd, "b": large}
    table = pa.concat_tables(
        [table, pa.table(more).cast(_schema(table, more))], promote_options="default"
    )
    (tmp_path / "rows").mkdir()
    pq.write_table(table, tmp_path / "rows" / "rows.parquet")
    columns = {
        "n": "bigint",
        "i": "int",
        "l": "bigint",
        "d": "double",
        "s": "string",
        "b": "binary",
    }
    job = job_of(
        tmp_path, model, key=["n", "s"],
        contract={
            "columns": {name: {"type": kind} for name, kind in [*columns.items(), ("t", "string"), ("o", "boolean")]},
            "rules": [
                {"name": "none", "holds": "n < 0"}, {"name": "numbers", "holds": "d > 0 AND i > 0 AND l > 0"},
                {"name": "texts", "holds": "s = 'a' AND t = 'b' AND b IS NULL", "severity": "warn"},
                {"name": "flag", "holds": "o", "severity": "warn"},
            ],
            "redact": ["t", "l"],
        },
    )  # fmt: skip
    rules = [rule for rule in job.contract.row_rules(job.key) if rule.kind == "row"]
    rows = spark.read.parquet(str(tmp_path / "rows"))

    by_spark = contract_check.quarantined(rows, rules, job, "run", AT)
    monkeypatch.setattr(contract_check.cluster, "is_embedded", lambda _spark: True)
    by_python = contract_check.quarantined(rows, rules, job, "run", AT)

    assert by_python.schema == delta.spark_schema(QUARANTINE.arrow_schema)
    expected, found = (
        {json.loads(row["key"])["n"]: row for row in made.toArrow().to_pylist()}
        for made in (by_spark, by_python.orderBy(F.col("key")))
    )
    assert len(found) == 605
    assert found.keys() == expected.keys()
    different = {n: (plain(expected[n]), found[n]) for n in found if plain(expected[n]) != found[n]}
    assert not different


def _schema(table: pa.Table, columns: dict[str, Any]) -> pa.Schema:
    return pa.schema([table.schema.field(name) for name in columns])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0"), (-0.0, "-0.0"), (1.0, "1.0"), (0.001, "0.001"), (9999999.5, "9999999.5"),
        (1e7, "1.0E7"), (0.0001, "1.0E-4"), (-1.5e300, "-1.5E300"), (123456789.25, "1.2345678925E8"),
        (float("nan"), '"NaN"'), (float("-inf"), '"-Infinity"'),
    ],
)  # fmt: skip
def test_a_double_is_written_as_java_does(value: float, text: str) -> None:
    assert java_double(value) == text
