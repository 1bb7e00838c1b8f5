"""Rules are text from somebody else: what they may not do is refused at load, with its place."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.schemas.contract import Contract
from millrace.schemas.excerpt import excerpt
from millrace.schemas.predicates import checked
from tests.schemas.hostile import ALL, COLUMNS, HOSTILE


@pytest.mark.parametrize(("kind", "rule"), ALL, ids=[f"{k}: {r[:40]!r}" for k, r in ALL])
def test_a_hostile_or_meaningless_rule_is_refused_with_its_place(kind: str, rule: str) -> None:
    with pytest.raises(ValueError, match=".") as refused:
        checked(rule, COLUMNS)

    said = str(refused.value).splitlines()
    if kind == "nothing" or len(rule) > 1000:
        return  # all of it is wrong, or it is too long to be read
    assert re.fullmatch(r"  line \d+, column \d+:", said[-3]), said
    assert set(said[-1].strip()) == {"^"}
    assert len(said[-1]) <= len(said[-2]) + 1


def test_there_are_at_least_forty_hostile_rules_of_ten_kinds() -> None:
    assert len(set(ALL)) == len(ALL) >= 40
    assert len(HOSTILE) >= 10


@pytest.mark.parametrize(
    ("rule", "place"),
    [
        ("a > rand()", ("line 1, column 5", "rand")),
        ("a > 1 AND\n   a < rand()", ("line 2, column 8", "rand")),
        ("a > 1 OR (SELECT 1) = 1", ("line 1, column 11", "SELECT")),
        ("a > 1 AND nope < 1", ("line 1, column 11", "nope")),
        ("a > 1 AND text RLIKE '(a+)+$'", ("line 1, column 22", "'(a+)+$'")),
        ("sum(a) OVER () > 1", ("line 1, column 8", "OVER")),
        ("a > 1; b", ("line 1, column 6", ";")),
        ("a XOR a", ("line 1, column 3", "XOR")),
        ("text = 'x", ("line 1, column 8", "'")),
        (f"a > 1 OR {'a > 1 OR ' * 50}rand() > 1", ("line 1, column 460", "rand")),
    ],
)
def test_the_caret_is_under_what_is_refused(rule: str, place: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match=".") as refused:
        checked(rule, COLUMNS)

    where, line, carets = str(refused.value).splitlines()[-3:]
    assert where.strip(" :") == place[0]
    marked = "".join(c for c, m in zip(line.ljust(len(carets)), carets, strict=False) if m == "^")
    assert marked == place[1]
    assert len(line) <= 140


def test_a_refusal_shows_what_cannot_be_seen() -> None:
    with pytest.raises(ValueError, match="CYRILLIC SMALL LETTER IE"):
        checked("l\u0435ngth(text) > 1", COLUMNS)
    with pytest.raises(ValueError, match="RIGHT-TO-LEFT OVERRIDE") as refused:
        checked("\u202ea > 1", COLUMNS)
    assert "\u202e" not in str(refused.value)
    with pytest.raises(ValueError, match=r"\\x1b") as refused:
        checked("a > 1 \x1b[2J", COLUMNS)
    assert "\x1b" not in str(refused.value)


@given(st.text(max_size=200), st.integers(0, 200), st.integers(0, 200))
def test_an_excerpt_is_always_three_printable_lines(text: str, start: int, length: int) -> None:
    lines = excerpt(text, start, start + length).split("\n")
    assert len(lines) == 3
    assert all(line.isprintable() for line in lines)
    assert lines[2].strip()


ALPHABET = st.sampled_from(
    ["a", "text", "tags", "(", ")", "'", '"', "`", "\\", "$", "{", "}", ";", "--", "/*", "*/", " ", "\n",
     "rand", "SELECT", "EXISTS", "CASE", "WHEN", "END", "=", ">", "->", ".", ",", "1", "::", "int", "[", "]",
     "RLIKE", "LIKE", "+", "|", "OVER", "r'", "\u0435", "\x00"]
)  # fmt: skip


@settings(max_examples=400)
@given(st.lists(ALPHABET, max_size=15).map("".join))
def test_any_text_is_refused_or_written_without_what_is_forbidden(text: str) -> None:
    try:
        written, used = checked(text, COLUMNS)
    except ValueError:
        return
    bare = re.sub(r"'(?:[^'\\]|\\.)*'|`(?:[^`]|``)*`", "", written, flags=re.DOTALL)
    assert not re.search(r"rand|select|over|;|--|/\*|\$\{", bare, re.IGNORECASE), written
    assert "${" not in written
    assert set(used) <= set(COLUMNS)
    assert checked(written, COLUMNS) == (written, used), (
        "what is written is a rule, and the same one"
    )


def test_a_text_that_spark_would_fill_in_is_written_so_that_it_stays_that_text() -> None:
    assert checked("text LIKE '%${env:HOME}%'", COLUMNS)[0] == "text LIKE '%$\\u007benv:HOME}%'"


def test_a_lambda_does_not_hide_a_column() -> None:
    rule = "exists(tags, x -> x > a) AND a > 1 AND exists(tags, y -> exists(tags, x -> x > y))"
    assert checked(rule, COLUMNS)[1] == ("a", "tags")


@pytest.mark.parametrize(
    "name", ["a`b", "a.b", "a'b", 'a"b', "a\\b", "a\nb", "a b", "x'", "select", "current_user", "if", "größe",
             "a) OR (1=1", "a--", "*/", "1", "", "😀"],
)  # fmt: skip
def test_a_column_may_have_any_name_and_is_only_ever_a_name(name: str) -> None:
    quoted = "`" + name.replace("`", "``") + "`"
    if not name:
        with pytest.raises(ValueError, match="no name"):
            checked(f"{quoted} > 1", [name])
        return
    written, used = checked(f"{quoted} > 1", [name])
    assert used == (name,)
    assert written == f"{quoted} > 1"


def test_a_contract_names_the_rule_and_the_place() -> None:
    rules = [{"name": "fine", "holds": "a > 1"}, {"name": "bad", "holds": "a > rand()"}]
    with pytest.raises(ValueError, match=r"(?s)rule 'bad': rand\(\).*line 1, column 5") as refused:
        Contract.model_validate({"columns": {"a": {"type": "int"}}, "rules": rules})
    assert "        ^^^^" in str(refused.value)
