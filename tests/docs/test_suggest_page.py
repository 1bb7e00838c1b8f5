"""What docs/SUGGEST.md shows is what happens: its data, its contract, its refusal."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from millrace.pipelines.console.progress import Progress
from millrace.pipelines.validation.contract_file import as_yaml
from millrace.pipelines.validation.contract_suggestion import suggest
from millrace.schemas.predicates import checked
from tests.docs.test_snippets import ROOT, blocks

PAGE = {block.title: block.text for block in blocks(ROOT / "docs" / "SUGGEST.md")}


@pytest.mark.spark
def test_the_contract_that_the_page_shows_is_the_one_that_is_suggested(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(PAGE["payments.py"], {})

    found = suggest(spark, "payments.csv", None, 1000, Progress(quiet=True))

    assert as_yaml(found) == PAGE["payments.yaml"]


def test_the_refusal_that_the_page_shows_is_the_one_that_is_given() -> None:
    rule = PAGE["refusal"].splitlines()[2].strip()
    with pytest.raises(ValueError, match="rand") as refused:
        checked(rule, ["amount"])
    message = str(refused.value)
    listed = message.splitlines()[0].partition("; allowed")[2]
    assert message.replace(f"; allowed{listed}", "") + "\n" == PAGE["refusal"]
