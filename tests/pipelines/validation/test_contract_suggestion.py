"""A suggested contract loads, passes the data that it comes from, and catches what is planted in them."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame, SparkSession

from millrace.pipelines.console.progress import Progress
from millrace.pipelines.sources import reader, snapshot
from millrace.pipelines.validation import contract_check
from millrace.pipelines.validation.contract_file import as_yaml
from millrace.pipelines.validation.contract_suggestion import Suggestion, suggest
from millrace.pipelines.validation.expectations import Expectations
from millrace.pipelines.validation.verdict import Verdict
from millrace.pipelines.validation.violations import Mark, breaking_values, marked
from millrace.schemas.config import Job
from millrace.schemas.contract import Contract
from millrace.schemas.rule import Rule
from millrace.schemas.yaml_file import load

pytestmark = pytest.mark.spark
Plant = Callable[[dict[str, Any]], dict[str, Any]]


def suggestion(spark: SparkSession, path: Path, rows: int = 100_000) -> Suggestion:
    return suggest(spark, str(path), None, rows, Progress(quiet=True))


def as_job(found: Suggestion, folder: Path) -> Job:
    """The suggestion as a user has it: written, read and completed with a model."""
    folder.mkdir(exist_ok=True)
    (folder / "job.yaml").write_text(as_yaml(found), "utf-8")
    return load(folder / "job.yaml", Job, overrides=["model.uri=model"])


def verdict(spark: SparkSession, job: Job, path: Path, *, expectations: bool = False) -> Verdict:
    source = job.source.model_copy(update={"path": str(path)})
    contract = job.contract
    if not expectations:
        contract = contract.model_copy(update={"expectations": ()})
    rows = reader.read(spark, source, contract, snapshot.pin(source))
    rules = contract.row_rules(job.key, malformed=reader.has_malformed(source))
    return examined(rows, contract, rules)[1]


def examined(
    rows: DataFrame, contract: Contract, rules: Sequence[Rule]
) -> tuple[dict[str, Mark], Verdict]:
    expectations = Expectations(rows, contract)
    values = breaking_values(rows, rules, {})
    asked = (expectations, expectations.validate_with_spark)
    return contract_check.examine(rows, (contract, rules), values, asked, dt.datetime.now(dt.UTC))


def caught(spark: SparkSession, job: Job, path: Path, key: str) -> set[Any]:
    """The keys, or the lines, of the refused rows."""
    source = job.source.model_copy(update={"path": str(path)})
    rows = reader.read(spark, source, job.contract, snapshot.pin(source))
    rules = job.contract.row_rules(job.key, malformed=reader.has_malformed(source))
    every = marked(rows, examined(rows, job.contract, rules)[0])
    found = every.where(contract_check.refused(rules, every.columns)).select(key).collect()
    return {row[0] for row in found}


SMS_FAULTS: dict[str, bytes] = {
    "null label": b"\tcall me",
    "wrong category": b"spma\tcall me",
    "category in another case": b"HAM\tcall me",
    "null text": b"ham\t",
    "blank text": b"ham\t    ",
    "far too long": b"ham\t" + b"word " * 2000,
    "bytes of no encoding": b"ham\tcall \xff\xfe me",
    "a field too few": b"ham",
    "a field too many": b"ham\tcall\tme",
    "control characters": b"ham\tcall \x02\x03 me",
    "letters lost": "ham\tcall \ufffd\ufffd me".encode(),
}


def test_the_sms_file(spark: SparkSession, shared_data: Path, tmp_path: Path) -> None:
    original = shared_data / "sms-spam" / "SMSSpamCollection.tsv"
    found = suggestion(spark, original)
    job = as_job(found, tmp_path)

    assert found.sampled == found.rows == 5574
    assert (job.key, job.source.line) == (("line",), "line")  # type: ignore[union-attr]
    assert {one.name: one.type for one in found.columns} == {
        "line": "bigint",
        "Label": "string",
        "SMS": "string",
    }
    passed = verdict(spark, job, original, expectations=True)
    assert (passed.rows, passed.quarantined, passed.refusals) == (5574, 0, [])

    lines = original.read_bytes().rstrip(b"\n").split(b"\n")
    (tmp_path / "bad.tsv").write_bytes(b"\n".join([*lines, *SMS_FAULTS.values()]) + b"\n")
    refused = caught(spark, job, tmp_path / "bad.tsv", "line")
    planted = {what: len(lines) + 1 + at for at, what in enumerate(SMS_FAULTS)}
    missed = [what for what, line in planted.items() if line not in refused]
    print("SMS: missed of", len(planted), missed)
    assert refused <= set(planted.values())
    assert len(planted) - len(missed) >= 8
    assert missed == []


DIGIT_FAULTS: dict[str, dict[str, Any]] = {
    "null image": {"pixels": None},
    "image cut short": {"pixels": b"\x01" * 300},
    "image a byte too long": {"pixels": b"\x01" * 785},
    "empty image": {"pixels": b""},
    "blank image": {"pixels": bytes(784)},
    "null id": {"image_id": None},
    "negative id": {"image_id": -5},
    "id of another image": {"image_id": 17},
    "label that is no digit": {"label": 10},
    "negative label": {"label": -1},
    "null label": {"label": None},
}


def test_the_digits(spark: SparkSession, tmp_path: Path) -> None:
    digits = pytest.importorskip("millrace.examples.digits")
    pytest.importorskip("sklearn")
    pixels, labels = digits.load_images()
    table = pa.table(
        {
            "row": pa.array(range(len(labels)), pa.int64()),
            "image_id": pa.array(range(len(labels)), pa.int64()),
            "pixels": pa.array([image.tobytes() for image in pixels], pa.binary()),
            "label": pa.array(labels, pa.int32()),
        }
    )
    pq.write_table(table.drop(["row"]), tmp_path / "digits.parquet")
    found = suggestion(spark, tmp_path / "digits.parquet")
    job = as_job(found, tmp_path / "job")

    assert job.key == ("image_id",)
    assert (found.sampled, found.rows, found.dropped) == (1797, 1797, ())
    passed = verdict(spark, job, tmp_path / "digits.parquet")
    assert (passed.rows, passed.quarantined, passed.refusals) == (1797, 0, [])
    missed = missing(spark, job, table, DIGIT_FAULTS, tmp_path)
    print("digits: missed of", len(DIGIT_FAULTS), missed)
    assert missed == []


def missing(
    spark: SparkSession, job: Job, table: pa.Table, faults: dict[str, dict[str, Any]], folder: Path
) -> list[str]:
    """The faults whose row is not refused; nothing but planted rows, and their doubles, may be."""
    rows = table.to_pylist()
    planted = {100 + at: {**rows[100 + at], **change} for at, change in enumerate(faults.values())}
    bad = [planted.get(at, row) for at, row in enumerate(rows)]
    pq.write_table(pa.Table.from_pylist(bad, table.schema), folder / "bad.parquet")
    with_row = job.contract.model_dump() | {"expectations": []}
    with_row["columns"] = {**with_row["columns"], "row": {"type": "bigint"}}
    seeing = job.model_copy(update={"contract": type(job.contract).model_validate(with_row)})
    refused = caught(spark, seeing, folder / "bad.parquet", "row")
    assert refused - set(planted) <= {17}, "17 has a double"
    return [what for at, what in zip(planted, faults, strict=True) if at not in refused]


def wide(rows: int = 1000) -> pa.Table:
    """200 columns, most of them numbers of different scales."""
    draw = np.random.default_rng(5)
    start = dt.date(2024, 1, 1)
    columns: dict[str, pa.Array] = {
        "row": pa.array(range(rows), pa.int64()),
        "order_id": pa.array(range(5000, 5000 + rows), pa.int64()),
        "token": pa.array([str(uuid.UUID(int=n * 7919)) for n in range(rows)]),
        "country": pa.array(draw.choice(["DE", "FR", "IT"], rows)),
        "article": pa.array([f"{'AB' if n % 2 else 'CD'}-{n % 900 + 1000}" for n in range(rows)]),
        "email": pa.array([f"{'user' * (n % 3 + 1)}.{n}@example.org" for n in range(rows)]),
        "note": pa.array([f"note {'x' * (n % 40)} of {n}" for n in range(rows)]),
        "day": pa.array([start + dt.timedelta(days=n % 300) for n in range(rows)]),
        "price": pa.array([Decimal(n % 500) / 4 for n in range(rows)], pa.decimal128(8, 2)),
        "paid": pa.array([n % 3 == 0 for n in range(rows)]),
        "rare": pa.array([None if n % 10 == 0 else float(n) for n in range(rows)]),
    }
    for n in range(20):
        columns[f"share_{n}"] = pa.array(draw.random(rows))
        columns[f"count_{n}"] = pa.array(draw.integers(0, 10 ** (n % 6 + 1), rows), pa.int32())
        columns[f"whole_{n}"] = pa.array(draw.integers(-500, 500, rows).astype(float))
    for n in range(201 - len(columns)):
        columns[f"signal_{n}"] = pa.array(draw.normal(n - 70, 10.0 ** (n % 9 - 4), rows))
    return pa.table(columns)


WIDE_FAULTS: dict[str, dict[str, Any]] = {
    "null": {"signal_3": None},
    "far out of range": {"signal_3": 1e9},
    "NaN": {"signal_4": float("nan")},
    "infinite": {"signal_5": float("-inf")},
    "negative count": {"count_2": -1},
    "a share above one": {"share_1": 1.5},
    "a fraction among whole numbers": {"whole_3": 0.5},
    "wrong category": {"country": "XX"},
    "malformed code": {"article": "AB1234"},
    "malformed address": {"email": "user at example"},
    "malformed token": {"token": "0000-1"},
    "id twice": {"order_id": 5017},
    "blank text": {"note": "   "},
    "too long a text": {"note": "x" * 5000},
    "letters lost": {"note": "note \ufffd"},
    "a day long ago": {"day": dt.date(1900, 1, 1)},
    "price out of range": {"price": Decimal("99999.99")},
}


@pytest.fixture
def interpreted(spark: SparkSession) -> Iterator[SparkSession]:
    """Without compiling: of hundreds of predicates that takes longer than to compute them for few rows."""
    settings = {
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    }
    for name, value in settings.items():
        spark.conf.set(name, value)
    yield spark
    for name in settings:
        spark.conf.unset(name)


@pytest.mark.slow
def test_a_wide_table_and_a_sample_that_promises_too_much(
    interpreted: SparkSession, tmp_path: Path
) -> None:
    spark = interpreted
    table = wide()
    data = table.drop(["row"])
    assert data.num_columns == 200
    pq.write_table(data, tmp_path / "wide.parquet")
    found = suggestion(spark, tmp_path / "wide.parquet")
    job = as_job(found, tmp_path / "job")

    assert job.key == ("order_id",)
    assert found.dropped == ()
    assert sum(len(one.rules) for one in found.columns) > 200
    missed = missing(spark, job, table, WIDE_FAULTS, tmp_path)
    print("wide: missed of", len(WIDE_FAULTS), missed)
    assert missed == []

    few = table.select(["order_id", "country", "count_1", "signal_3"]).to_pylist()
    few[500] |= {"country": "YY", "signal_3": None}
    few[501] |= {"count_1": 2_000_000_000}
    pq.write_table(pa.Table.from_pylist(few), tmp_path / "few.parquet")
    from_few = suggestion(spark, tmp_path / "few.parquet", rows=100)
    assert 50 < from_few.sampled < 200 < from_few.rows
    assert {"country.known", "count_1.range", "signal_3.not_null"} <= {
        one.what for one in from_few.dropped
    }
    passed = verdict(spark, as_job(from_few, tmp_path / "few"), tmp_path / "few.parquet")
    assert (passed.rows, passed.quarantined) == (1000, 0)
    assert "a sample" in as_yaml(from_few)
