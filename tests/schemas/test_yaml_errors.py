"""Each mistake in a job file is told in our own form: its line, what was found, the nearest that is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from millrace.schemas.config import Job
from millrace.schemas.errors import UsageError
from millrace.schemas.nearest import nearest
from millrace.schemas.yaml_file import load

GOOD = """\
name: tiny
source: {format: parquet, path: input}
key: [id]
contract:
  columns:
    id: {type: bigint}
    amount: {type: double}
  rules:
    - {name: positive, holds: "amount > 0"}
    - {name: small, holds: "amount < 9"}
model: {uri: model}
"""
SHARE = "a share is a number from 0 to 1: write"
MISTAKES = [
    ("format: parquet", "format: cvs", ":2: source.format: unknown value 'cvs'; did you mean 'csv'? (allowed: 'parquet', "),
    ("format: parquet, ", "", ":2: source.format is missing"),
    ("model:", "  max_quarantined: 50%\nmodel:", f":11: contract.max_quarantined: {SHARE} 0.5 (got '50%')"),
    ("model:", "run: {max_failed: 7.5 %}\nmodel:", f":11: run.max_failed: {SHARE} 0.075 (got '7.5 %')"),
    ("bigint", "integer", ":6: contract.columns.id.type: unknown type 'integer'; allowed: "),
    ("bigint", "integer", "did you mean 'int'?"),
    ("bigint", "array<str>", "did you mean 'string'?"),
    ("[id]", "[idd]", ":3: key names columns that the contract does not declare: idd; did you mean 'id'?"),
    ("[id]", "id", ":3: key: a list is wanted, such as [a, b] (got 'id')"),
    ("amount < 9", "amont < 9", ":10: contract.rules.1.holds: rule 'small': 'amont' is not a column"),
    ("amount < 9", "amount <", ":10: contract.rules.1.holds: rule 'small': not a SQL predicate"),
    ("name: small", "name: positive", ":10: contract.rules.1: rule names must differ; twice: positive"),
    ("    amount:", "    _amount:", ":7: contract.columns._amount: column '_amount': names that begin with _"),
    ("model:", "keep: [id]\nmodel:", ":11: keep: columns in both key and keep: id"),
    ("model:", "  redact: [nme]\nmodel:", ":11: contract.redact names columns that are not declared: nme"),
    ("model:", "  expectations:\n    - {expect: ExpectColumnMaxToBeBetween, column: amont, max_value: 1}\nmodel:",
     ":12: contract.expectations.0: ExpectColumnMaxToBeBetween names columns that are not declared: amont"),
    ("model:", "monitor: {drift: {columns: [amont]}}\nmodel:", ":11: monitor.drift.columns names columns that the contract does not declare: amont; did you mean 'amount'?"),
    ("model:", "engine: {device: gpu}\nmodel:", ":11: engine.device: unknown value 'gpu'; did you mean 'cuda'?"),
    ('"amount < 9"', '"amount < 9", severity: warning', ":10: contract.rules.1.severity: unknown value 'warning'; did you mean 'warn'?"),
    ("model:", "cost: {prices: example, instance: laptop, budget: 5 USD}\nmodel:", ":11: cost.budget: a number is wanted (got '5 USD')"),
    ("{type: bigint}", "{type: bigint, nullable: nope}", ":6: contract.columns.id.nullable: true or false is wanted (got 'nope')"),
    ("  columns:", "\tcolumns:", ":5: not YAML\n"),
    ("  columns:", "\tcolumns:", "indent with spaces: YAML allows no tabs there"),
]  # fmt: skip


@pytest.mark.parametrize(("right", "wrong", "message"), MISTAKES)
def test_a_mistake_is_told_at_its_own_line_in_our_own_words(
    tmp_path: Path, right: str, wrong: str, message: str
) -> None:
    said = refused(tmp_path / "job.yaml", GOOD.replace(right, wrong, 1))

    assert message in said
    for foreign in ("Input should be", "Input tag", "valid dictionary", "tuple", "instance of"):
        assert foreign not in said


def test_a_union_of_numbers_is_one_mistake(tmp_path: Path) -> None:
    said = refused(tmp_path / "job.yaml", GOOD.replace("model:", "  max_quarantined: lots\nmodel:"))
    assert said.count("max_quarantined") == 2  # a share, or a number of rows: both are said
    assert ".int" not in said


@pytest.mark.parametrize("name", ["payments.csv", "payments.tsv", "rows.parquet", "rows.jsonl", "rows.csv.gz"])  # fmt: skip
def test_data_that_is_given_as_a_job_is_told_as_data_and_how_to_make_a_job_of_it(
    tmp_path: Path, name: str
) -> None:
    said = refused(tmp_path / name, "id,note\n1,hello\n")
    assert "where a YAML file is wanted" in said
    assert "millrace validate --suggest" in said


def test_a_text_without_keys_is_told_as_that(tmp_path: Path) -> None:
    assert "holds plain text, and no keys" in refused(tmp_path / "job.txt", "id,note\n1,hello\n")
    assert "holds a list, and no keys" in refused(tmp_path / "job.yaml", "- a\n- b\n")


def test_a_word_of_another_system_leads_to_ours_and_no_likeness_leads_nowhere() -> None:
    assert nearest("gpu", ("auto", "cpu", "cuda")) == "cuda"
    assert nearest("CUDA", ("auto", "cpu", "cuda")) == "cuda"
    assert nearest("long", ("int", "bigint")) == "bigint"
    assert nearest("xyz", ("int", "bigint")) is None


def refused(path: Path, text: str) -> str:
    path.write_text(text)
    with pytest.raises(UsageError) as message:
        load(path, Job)
    return str(message.value)
