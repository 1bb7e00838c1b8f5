"""A rule that compares with NULL decides nothing, and is refused with what to write instead."""

from __future__ import annotations

import pytest

from millrace.schemas.predicates import checked

COLUMNS = ("kind", "n", "m", "yes", "tags")


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("kind IN ('q', NULL)", "write (kind IS NULL OR kind IN (...))"),
        ("kind NOT IN ('q', NULL)", "write kind IS NOT NULL AND kind NOT IN (...)"),
        ("NOT (kind IN ('q', NULL))", "NOT IN with NULL in the list is true of no row"),
        ("kind IN (NULL)", "never false"),
        ("kind IN ('q', CAST(NULL AS STRING))", "never false"),
        ("(n, m) IN ((1, NULL))", "never false"),
        ("NULL IN (1, n)", "NULL is in no list"),
        ("kind IN ()", "empty list"),
        ("kind = NULL", "write IS NULL"),
        ("NULL <> kind", "write IS NOT NULL"),
        ("n > (NULL)", "never true"),
        ("n + NULL > 4", "never true"),
        ("n = - CAST(NULL AS INT)", "never true"),
        ("exists(tags, t -> t = NULL)", "write IS NULL"),
        ("n BETWEEN NULL AND 5", "BETWEEN with NULL"),
        ("n BETWEEN 9 AND 1", "write the smaller number first"),
        ("n NOT BETWEEN -1 AND (-9L)", "write the smaller number first"),
        ("kind LIKE NULL", "never match"),
        ("CASE kind WHEN NULL THEN TRUE ELSE yes END", "CASE WHEN ... IS NULL"),
        ("yes OR NULL", "neither true nor false"),
        ("NOT NULL", "neither true nor false"),
        ("NULL", "neither true nor false"),
    ],
)
def test_a_comparison_with_null_is_refused_with_what_to_write(rule: str, message: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - its words are looked at
        checked(rule, COLUMNS)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    "rule",
    [
        "kind IS NULL OR kind IN ('q')",
        "kind <=> NULL",
        "coalesce(n, NULL) = 1",
        "nullif(n, 7) IS NULL",
        "CASE WHEN kind IS NULL THEN NULL ELSE yes END",
        "n NOT IN (m, 7)",
        "n BETWEEN -9 AND -1",
        "n BETWEEN m AND 1",
        "kind = 'NULL'",
    ],
)
def test_what_is_known_of_null_is_allowed(rule: str) -> None:
    checked(rule, COLUMNS)
