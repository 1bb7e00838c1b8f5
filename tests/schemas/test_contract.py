"""What a contract says of its rows, its expectations and its thresholds, and what it may not."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from millrace.schemas.contract import Contract
from millrace.schemas.expectations import EVALUATIONS, REFUSED

COLUMNS = {"id": {"type": "bigint"}, "n": {"type": "int"}, "a.b": {"type": "int"}}


def contract(*expectations: dict[str, Any], **more: Any) -> Contract:
    return Contract.model_validate({"columns": COLUMNS, "expectations": list(expectations), **more})


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_an_expectation_that_cannot_be_answered_is_refused_with_why_and_the_list(name: str) -> None:
    with pytest.raises(ValidationError) as refused:
        contract({"expect": name, "column": "n"})
    assert REFUSED[name] in str(refused.value)
    if "no SQL of its own" not in REFUSED[name]:
        assert f"supported: {', '.join(sorted(EVALUATIONS))}" in str(refused.value)


def test_a_misspelt_expectation_is_refused_with_its_neighbours() -> None:
    with pytest.raises(ValidationError, match="near it: ExpectTableRowCountToBeBetween"):
        contract({"expect": "ExpectTableRowCountToBeBetwen"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"column": "nn"}, "names columns that are not declared: nn; declared: id, n, a.b"),
        ({"column": "a.b"}, "cannot read columns with . or ` in their names: a.b"),
        ({"column": "n", "row_condition": "true"}, "brings no SQL of its own"),
    ],
)
def test_an_expectation_is_about_columns_that_can_be_read(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        contract({"expect": "ExpectColumnValuesToBeNull", **arguments})
    assert message in str(refused.value)


def test_expectations_of_one_class_have_names_of_their_own() -> None:
    between = {"expect": "ExpectColumnValuesToBeBetween", "column": "n"}
    pair = {"expect": "ExpectColumnPairValuesToBeEqual", "column_A": "n", "column_B": "id"}
    count = {"expect": "ExpectTableRowCountToBeBetween", "min_value": 1}
    low, high = {**between, "min_value": 1}, {**between, "max_value": 9, "severity": "warning"}

    found = contract(low, high, pair, count)

    names = (
        "n.ExpectColumnValuesToBeBetween", "n.ExpectColumnValuesToBeBetween.2",
        "n.id.ExpectColumnPairValuesToBeEqual", "ExpectTableRowCountToBeBetween",
    )  # fmt: skip
    assert found.expectation_names == names
    rules = found.row_rules(())
    assert [(rule.name, rule.severity) for rule in rules] == [
        (names[0], "error"), (names[1], "warn"), (names[2], "error"),
    ]  # fmt: skip
    assert len({rule.fingerprint for rule in rules}) == 3


@pytest.mark.parametrize("given", [0, 0.0, 1, 1.0, 5, 0.05])
def test_a_whole_number_of_refused_rows_is_a_count_and_a_fraction_is_a_share(given: float) -> None:
    found = contract(max_quarantined=given).max_quarantined
    assert (found, type(found)) == (given, type(given))


@pytest.mark.parametrize("given", [-1, -0.1, 1.01, float("nan"), "many"])
def test_other_thresholds_are_refused(given: Any) -> None:
    with pytest.raises(ValidationError):
        contract(max_quarantined=given)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"redact": ["name"]}, "redact names columns that are not declared: name"),
        ({"columns": {"n": {"type": "int", "fresh_within_h": 1}}}, "allowed: timestamp, date"),
        ({"rules": [{"name": "r", "holds": "n > 0", "mostly": 1.5}]}, "less than or equal to 1"),
    ],
)
def test_what_makes_no_sense_is_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as refused:
        contract(**more)
    assert message in str(refused.value)


def test_a_rule_keeps_its_fingerprint_until_its_meaning_changes() -> None:
    def fingerprint(**more: Any) -> str:
        (rule,) = contract(rules=[{"name": "r", "holds": "n > 0", **more}]).row_rules(())
        return rule.fingerprint

    assert fingerprint() == "745899e37ab6c295"  # as it was before rules had a mostly
    changed = [{"holds": "n > 1"}, {"severity": "warn"}, {"on_null": "pass"}, {"mostly": 0.9}]
    assert len({fingerprint(**one) for one in ({}, *changed)}) == 5


@pytest.mark.parametrize(
    "name",
    [
        "id.unique",
        "ID.Not_Null",
        "record.well_formed",
        "id.fresh",
        "id.ExpectColumnValuesToNotBeNull",
    ],
)
def test_a_rule_cannot_take_the_name_of_a_check_of_the_contracts_own(name: str) -> None:
    expectation = {"expect": "ExpectColumnValuesToNotBeNull", "column": "id"}
    rule = {"name": name, "holds": "id > 0"}
    with pytest.raises(ValidationError, match="names of the contract's own checks"):
        Contract.model_validate(
            {
                "columns": {"id": {"type": "bigint", "nullable": False, "unique": True}},
                "expectations": [expectation],
                "rules": [rule],
            }
        )


def test_rules_that_differ_in_case_alone_have_one_name() -> None:
    rules = [{"name": name, "holds": "id > 0"} for name in ("some", "Some")]
    with pytest.raises(ValidationError, match="rule names must differ"):
        Contract.model_validate({"columns": {"id": {"type": "bigint"}}, "rules": rules})
