"""Real data with planted faults: the rows that are refused, each with its reasons, and no other row."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame, SparkSession

from millrace.pipelines.sources import reader, snapshot
from millrace.pipelines.validation import contract_check, violations
from millrace.pipelines.validation.expectations import Expectations
from millrace.pipelines.validation.verdict import Verdict
from millrace.schemas.config import Job
from millrace.schemas.contract import Contract
from millrace.schemas.yaml_file import load

pytestmark = pytest.mark.spark
JOBS = Path(__file__).resolve().parents[3] / "conf" / "jobs"
NOW = datetime(2026, 11, 25, tzinfo=UTC)
PAPER = bytes(784)


def job_with(name: str, path: Path, changes: Mapping[str, Any], *expectations: Any) -> Job:
    """A shipped job over that input, its columns changed and expectations of single rows added."""
    job = load(JOBS / f"{name}.yaml", Job, overrides=[f"source.path={path}"])
    contract = job.contract.model_dump()
    for column, more in changes.items():
        contract["columns"][column] |= more
    contract["expectations"] = [*contract["expectations"], *expectations]
    return job.model_copy(update={"contract": Contract.model_validate(contract)})


def refused(
    rows: DataFrame, job: Job, references: Mapping[str, DataFrame]
) -> tuple[dict[int, set[str]], Verdict]:
    """By key, the rules that each row of quarantine broke; and the verdict."""
    rules = job.contract.row_rules(job.key, malformed=reader.has_malformed(job.source))
    expectations = Expectations(rows, job.contract)
    values = dict(violations.breaking_values(rows, rules, references))
    found, verdict = contract_check.examine(
        rows, (job.contract, rules), values, (expectations, expectations.validate_with_spark), NOW
    )
    every = contract_check.quarantined(
        violations.marked(rows, found), rules, job, "run", NOW
    ).collect()
    (key,) = job.key
    told = {json.loads(row.key)[key]: {reason.rule for reason in row.reasons} for row in every}
    assert verdict.quarantined == len(every)
    return told, verdict


def test_every_planted_fault_of_the_digits_is_refused_with_its_reasons_and_no_other_row(
    spark: SparkSession, shared_data: Path, tmp_path: Path
) -> None:
    folder = shared_data / "mnist"
    images = gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes())[16:]
    labels = gzip.decompress((folder / "t10k-labels-idx1-ubyte.gz").read_bytes())[8:]
    table = {
        "index": list(range(10_000)),
        "pixels": [images[at : at + 784] for at in range(0, len(images), 784)],
        "label": list(labels),
    }
    scan, count = "label.references", "pixels.ExpectColumnValuesToBeUnique"
    plant: dict[int, tuple[Any, Any, Any, set[str]]] = {
        17: (17, None, 3, {"pixels.not_null", "whole_image", "has_ink"}),
        170: (170, PAPER[:783], 3, {"whole_image"}),
        1700: (1700, b"", 3, {"whole_image"}),
        2700: (2700, PAPER, 3, {"has_ink"}),
        3700: (3700, table["pixels"][3700], None, {"label.not_null", "label_is_a_digit"}),
        4700: (4700, table["pixels"][4700], 10, {"label_is_a_digit", scan, "label.ExpectColumnValuesToBeBetween"}),
        5700: (5700, table["pixels"][5701], 3, {count}),
        5701: (5701, table["pixels"][5701], labels[5701], {count}),
        6700: (6701, table["pixels"][6700], labels[6700], {"index.unique"}),
        6701: (6701, PAPER[:9], -1, {"index.unique", "whole_image", "label_is_a_digit", scan, "label.ExpectColumnValuesToBeBetween"}),
    }  # fmt: skip
    for place, (index, pixels, label, _) in plant.items():
        table["index"][place], table["pixels"][place], table["label"][place] = index, pixels, label
    schema = pa.schema([("index", pa.int64()), ("pixels", pa.binary()), ("label", pa.int32())])
    pq.write_table(pa.table(table, schema), tmp_path / "in.parquet")
    digits = spark.createDataFrame([(digit,) for digit in range(10)], "digit int")
    job = job_with(
        "mnist",
        tmp_path,
        {"label": {"references": {"path": "digits", "column": "digit"}}},
        {"expect": "ExpectColumnValuesToBeBetween", "column": "label", "min_value": 0, "max_value": 9, "mostly": 0.99},
        {"expect": "ExpectColumnValuesToBeUnique", "column": "pixels", "mostly": 0.99},
    )  # fmt: skip

    told, verdict = refused(spark.read.parquet(str(tmp_path)), job, {scan: digits})

    planted: dict[int, set[str]] = {}
    for index, _, _, reasons in plant.values():
        planted[index] = planted.get(index, set()) | reasons
    top = {
        index
        for index in range(10_000)
        if index not in plant and any(images[index * 784 : index * 784 + 56])
    }
    without_tags = {index: {r for r in rules if r != "clear_top"} for index, rules in told.items()}
    assert without_tags == planted
    assert {r.rule: r.failed for r in verdict.results}["clear_top"] >= len(top)
    assert verdict.quarantined == len(plant)
    assert verdict.refusals == [] if len(plant) <= 10 else verdict.refusals


def test_every_planted_fault_of_the_messages_is_refused_with_its_reasons_and_no_other_row(
    spark: SparkSession, shared_data: Path, tmp_path: Path
) -> None:
    source = (shared_data / "sms-spam" / "SMSSpamCollection.tsv").read_text("utf-8")
    lines = source.removesuffix("\n").split("\n")
    plant: dict[int, tuple[str, set[str]]] = {
        10: ("ham\ttoo\tmany cells", {"record.well_formed"}),
        100: ("ham", {"record.well_formed"}),
        1000: ("ham\t   ", {"not_blank"}),
        1500: ("\tno label", {"Label.not_null", "known_label"}),
        2000: ("Spam\tthe case differs", {"known_label", "Label.ExpectColumnValuesToBeInSet"}),
        2500: ("ham\t", {"SMS.not_null", "not_blank", "one_message"}),
        3000: ("ham\tcall \x07 now", {"SMS.ExpectColumnValuesToNotMatchRegex"}),
    }
    for number, (line, _) in plant.items():
        lines.insert(number - 1, line)
    (tmp_path / "planted.tsv").write_text("\n".join(lines) + "\n", "utf-8")
    job = job_with(
        "sms",
        tmp_path / "planted.tsv",
        {},
        {"expect": "ExpectColumnValuesToBeInSet", "column": "Label", "value_set": ["ham", "spam"], "mostly": 0.99},
        {"expect": "ExpectColumnValuesToNotMatchRegex", "column": "SMS", "regex": "[\\x00-\\x08]", "mostly": 0.99},
    )  # fmt: skip
    rows = reader.read(spark, job.source, job.contract, snapshot.pin(job.source))

    told, verdict = refused(rows, job, {})

    real = [cells for cells in (line.split("\t") for line in lines[1:]) if len(cells) == 2]
    assert told == {number: reasons for number, (_, reasons) in plant.items()}
    assert verdict.rows == len(lines) - 1
    failed = {r.rule: r.failed for r in verdict.results}
    assert failed["one_message"] == 1 + sum(len(message) > 160 for _, message in real)
    assert verdict.refusals == []
    assert np.mean([label == "ham" for label, _ in real]) > 0.8, "the real rows are among them"
