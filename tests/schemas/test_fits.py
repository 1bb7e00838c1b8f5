from __future__ import annotations

import pytest

from millrace.schemas.fits import why_not

NUMBERS = ["tinyint", "smallint", "int", "bigint", "float", "double", "decimal(9,2)", "boolean"]


@pytest.mark.parametrize("declared", [*NUMBERS, "string", "date", "timestamp"])
@pytest.mark.parametrize("wanted", [*NUMBERS[:-2], "boolean"])
def test_columns_reads_numbers_as_numbers_and_no_fraction_as_an_integer(
    declared: str, wanted: str
) -> None:
    whole = declared.endswith("int") or declared == "boolean"
    fits = declared == wanted or (
        declared in NUMBERS and wanted != "boolean" and (whole or not wanted.endswith("int"))
    )
    assert (why_not(declared, wanted, "columns") is None) == fits


def test_a_vector_reads_lists_of_any_numbers_and_other_steps_their_own_type() -> None:
    for declared in ("array<int>", "array<double>", "array<decimal(5,1)>"):
        assert why_not(declared, "array<float>", "vector") is None
    assert why_not("array<string>", "array<float>", "vector")
    assert why_not("double", "array<float>", "vector")
    assert why_not("binary", "string", "tokens")
    assert why_not("string", "string", "tokens") is None
