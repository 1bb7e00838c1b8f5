"""What a job may not say, because a run would find out only after it was paid for."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from millrace.schemas.config import Job
from millrace.schemas.contract import Contract
from millrace.schemas.types import arrow_type, sql_type


def job(**changes: Any) -> Job:
    parts = {
        "name": "a",
        "source": {"format": "parquet", "path": "in"},
        "key": ["id"],
        "contract": {"columns": {"id": {"type": "bigint"}}},
        "model": {"uri": "m"},
    }
    return Job.model_validate({**parts, **changes})


def keyed(name: str) -> Job:
    return job(key=[name], contract={"columns": {name: {"type": "bigint"}}})


@pytest.mark.parametrize("name", ["run_id", "unit", "error", "warnings", "RUN_ID", "Model"])
def test_a_column_that_predictions_have_themselves_is_neither_key_nor_kept(name: str) -> None:
    with pytest.raises(ValidationError, match=f"{name}: a column that every predictions table"):
        job(keep=[name])
    with pytest.raises(ValidationError, match=f"{name}: a column that every predictions table"):
        keyed(name)


@pytest.mark.parametrize("name", ["user id", "a,b", "a;b", "a(b", "a}b", "a=b", "a\tb", "a\nb"])
def test_a_name_that_no_delta_column_can_have_is_neither_key_nor_kept(name: str) -> None:
    with pytest.raises(ValidationError, match="Delta"):
        job(keep=[name])
    with pytest.raises(ValidationError, match="Delta"):
        keyed(name)


@pytest.mark.parametrize(
    "changes", [{"key": ["id", "id"]}, {"keep": ["x", "x"]}, {"keep": ["ID"]}, {"keep": ["x", "X"]}]
)
def test_no_column_is_taken_twice_not_even_in_another_case(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="differ by more than case"):
        job(**changes)


@pytest.mark.parametrize("name", ["a.b", "größe", "名前", "a-b", "a'b", 'a"b'])
def test_names_that_delta_can_have_are_fine(name: str) -> None:
    assert keyed(name).key == (name,)


@pytest.mark.parametrize(
    "expectation",
    [
        {
            "expect": "ExpectColumnValuesToNotBeNull",
            "column": "id",
            "row_condition": "reflect('java.lang.System', 'exit', 1) IS NULL",
            "condition_parser": "spark",
        },
        {
            "expect": "ExpectQueryResultsToMatchComparison",
            "base_query": "SELECT * FROM parquet.`/etc/passwd`",
            "comparison_query": "SELECT 1",
        },
    ],
    ids=["row_condition", "query"],
)
def test_an_expectation_cannot_bring_sql_of_its_own(expectation: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="SQL of its own"):
        Contract.model_validate(
            {"columns": {"id": {"type": "bigint"}}, "expectations": [expectation]}
        )


def test_the_names_of_struct_fields_keep_their_case_in_arrays_too() -> None:
    assert sql_type(arrow_type("ARRAY<STRUCT<Name:INT>>")) == "array<struct<Name:int>>"
