from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from millrace.schemas.config import Job
from millrace.schemas.errors import JobFileError, UsageError
from millrace.schemas.yaml_file import load

FULL = """\
name: reviews-sentiment
source: {format: parquet, path: data/reviews/}        # parquet csv json delta images idx jdbc kafka
key: [review_id]
keep: [product_id]                                     # passed through to predictions
contract:
  columns:
    review_id: {type: bigint, nullable: false, unique: true}
    text:      {type: string, nullable: false}
  rules:                                               # a row rule is a SQL predicate that good rows satisfy
    - {name: not_blank, holds: "length(trim(text)) > 0", severity: error}
    - {name: not_huge,  holds: "length(text) <= 100000", severity: warn}
  expectations:                                        # Great Expectations, by class name
    - {expect: ExpectTableRowCountToBeBetween, min_value: 1}
  max_quarantined: 0.05
model: {uri: models/sentiment, version: "3"}           # a folder: model.yaml (signature, digests, licence) and weights
engine: {device: auto, precision: auto, batch: auto}   # each can be pinned
output: {path: lake/}
cost: {prices: conf/prices/example.yaml, instance: c7i.xlarge, budget: 5.00}
"""


@pytest.fixture
def full(tmp_path: Path) -> Path:
    path = tmp_path / "job.yaml"
    path.write_text(FULL)
    return path


def test_the_full_example_loads(full: Path) -> None:
    job = load(full, Job)

    assert (job.name, job.table, job.key) == (
        "reviews-sentiment",
        "predictions_reviews_sentiment",
        ("review_id",),
    )
    assert [rule.name for rule in job.contract.row_rules(job.key)] == [
        "review_id.not_null", "review_id.unique", "text.not_null", "not_blank", "not_huge",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("keep:", "kep:", "job.yaml:4: unknown key 'kep'; did you mean 'keep'?"),
        ("severity: warn", "severity: wrn", "job.yaml:11: contract.rules.1.severity"),
        ("nullable: false}", "nulable: false}", "job.yaml:8: unknown key 'contract.columns.text.nulable'; did you mean 'nullable'?"),
        ("path: data/reviews/", "pth: data/reviews/", "did you mean 'path'? (allowed: format, path)"),
        ("format: parquet", "format: jdbc", "'parquet', 'delta', 'csv', 'json', 'images', 'idx'"),
        ("type: string", "type: strng", "unknown type 'strng'; allowed: boolean, tinyint"),
        ("[review_id]", "[id]", "key names columns that the contract does not declare: id; declared: review_id, text"),
        ("batch: auto", "batch: 0", "allowed: auto, or a number of rows, at least 1 (got 0)"),
        ("precision: auto", "precision: fp8", "'auto', 'fp32', 'bf16', 'fp16' or 'int8'"),
        ("max_quarantined: 0.05", "max_quarantined: 1.5", "a share of them, 0.0 to 1.0"),
        ("length(trim(text)) > 0", "rand() > 0", "rule 'not_blank'"),
        ("max_quarantined: 0.05", "redact: [review_id]", "redact names key columns: review_id"),
        ("name: reviews-sentiment", "name: runs", "the name runs is taken"),
        ("name: reviews-sentiment", "name: Bad Name", "job.yaml:1: name"),
        ("keep: [product_id]", "keep: [review_id]", "columns in both key and keep"),
        ("not_huge", "not_blank", "rule names must differ"),
        ("text:      {", "_text: {", "names that begin with _ are Millrace's own"),
        ("    text:      {", "    REVIEW_ID: {", "must differ by more than case"),
        ("output: {path: lake/}\n", "output: {path: lake/}\noutput: {path: lake/}\n", "the key 'output' is given twice"),
        ("model: {uri: models/sentiment", "model: {ur: models/sentiment", "model.uri is missing"),
        ("budget: 5.00", "budget: -1", "greater than 0"),
        ("min_value: 1}", "min_value: 1, row_condition: 'a > 1'}", "an expectation brings no SQL of its own"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place_and_what_is_allowed(
    full: Path, old: str, new: str, message: str
) -> None:
    assert old in FULL
    full.write_text(
        FULL.replace(old, new, 1)
        if old != "nullable: false}"
        else FULL.replace("string, nullable: false", "string, nulable: false")
    )

    with pytest.raises(JobFileError) as error:
        load(full, Job)

    assert message in str(error.value)
    assert error.value.exit_code == 2


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("engine.batch=abc", "--set engine.batch=abc"),
        ("sorce.path=x", "did you mean 'source'?"),
        ("nothing", "--set wants key=value"),
        ("name.first=x", "inside a value that has no keys"),
    ],
)
def test_a_wrong_override_is_told_as_it_was_given(full: Path, override: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        load(full, Job, overrides=[override])
    assert message in str(error.value)


def test_overrides_reach_every_depth(full: Path) -> None:
    job = load(
        full,
        Job,
        overrides=[
            "engine.batch=7",
            "keep=[]",
            "source.path=a=b",
            "contract.columns.text.nullable=true",
        ],
    )

    assert (job.engine.batch, job.keep, job.source.path) == (7, (), "a=b")
    assert job.contract.columns["text"].nullable is True


def test_the_environment_is_read_only_where_the_file_says_so(full: Path) -> None:
    full.write_text(FULL.replace("lake/", '"${LAKE}/x"'))

    assert (
        load(full, Job, env={"LAKE": "s3://bucket", "name": "other"}).output.path == "s3://bucket/x"
    )
    with pytest.raises(
        JobFileError, match=r"job.yaml:17: output.path needs the environment variable LAKE"
    ):
        load(full, Job, env={})


def test_a_variable_without_its_quotes_is_told_how_to_write_it(full: Path) -> None:
    full.write_text(FULL.replace("lake/", "${LAKE}"))

    with pytest.raises(JobFileError, match="a variable needs quotes"):
        load(full, Job, env={"LAKE": "x"})


def test_a_variable_is_text_and_never_yaml(full: Path) -> None:
    full.write_text(FULL.replace("lake/", '"${LAKE}"'))
    hostile = "x}\nengine: {batch: 1}\n# ${HOME} !!python/object:os.system"

    assert load(full, Job, env={"LAKE": hostile, "HOME": "expanded"}).output.path == hostile


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name: \xff\xfe", "not UTF-8"),
        (b"name: [", "not YAML"),
        (b"name: !!python/object/apply:os.system [id]", "name"),
        (b"a: 2024-13-45", "not a plain value"),
        (b"", "name is missing"),
        (b"- a\n- b\n", "holds a list, and no keys"),
        (b"x" * (1 << 20) + b"x", "too large"),
    ],
)
def test_a_file_that_is_no_job_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "job.yaml"
    path.write_bytes(content)

    with pytest.raises(UsageError) as error:
        load(path, Job)
    assert message in str(error.value)


def test_a_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        load(tmp_path / "nope.yaml", Job)


@pytest.mark.parametrize("column", [{"type": "int"}, None])
def test_line_numbers_need_a_declared_bigint(column: dict[str, Any] | None) -> None:
    columns = {"text": {"type": "string"}} | ({"at": column} if column else {})
    with pytest.raises(ValueError, match="source.line names 'at'"):
        Job.model_validate({
            "name": "x", "source": {"format": "csv", "path": "x", "line": "at"}, "key": ["text"],
            "contract": {"columns": columns}, "model": {"uri": "m"},
        })  # fmt: skip
