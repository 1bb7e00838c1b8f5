"""Which regular expressions can take for ever: asked of Python's engine, which backtracks as Java's does."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.schemas.patterns import components, refuse_endless, refuse_like

# Each with a text on which its time doubles with every repetition.
ENDLESS = [
    (r"(a+)+$", "a", "!"), (r"(a*)*b", "a", ""), (r"([a-z]+)*$", "a", "!"), (r"(a|a)*b", "a", ""),
    (r"(a|aa)+$", "a", "!"), (r"^(\s*\w+\s*)+$", "a", "!"), (r"(.*,)*x", ",", ""), (r"(\w+\s?)*$", "a", "!"),
    (r"(x+x+)+y", "x", ""), (r"(?:(?:a+)b?)+$", "a", "!"), (r"(?=(a+)+$)", "a", "!"),
    (r"(a{1,200}){1,200}b", "a", ""),
]  # fmt: skip
# Python's engine has a way out of these; Java's has not.
ENDLESS_IN_JAVA = [r"((ab)*)*c", r"([^,]*,?)*$", r"(é|è|é)*x", r"(?i)(a|A)*$", r"(\p{L}|a)*!"]
QUICK = [
    r"^\d+$", r"^\d+(,\d+)*$", r"^[a-z]+(-[a-z]+)*$", r"^[\w.+-]+@[\w-]+(\.[\w-]+)+$", r"(foo|bar)*x",
    r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$", r"^\d{4}-\d{2}-\d{2}$", r"a.*b.*c",
    r"^https?://[^\s/$.?#].[^\s]*$", r"^(\d{3}){10}$", r"^\+?[0-9 ()-]{7,20}$", r"[\[\]]+", r"(.|\n)*x",
    r"^(?:[01]\d|2[0-3]):[0-5]\d$", r"[]a]+", r"[a-]+", r"(\d+|[a-z]+)(,(\d+|[a-z]+))*", r"^$", "", r"\\",
    r"^(?:\d{1,3}\.){3}\d{1,3}$", r"(?i)^(yes|no)$", r"^\S+( \S+)*$", r"(?!a+$)b*", r"(\w{1,50}[-,; ]){3,}",
    r"([a-z0-9]{1,20}\.){1,4}[a-z]{2,}$", r"(\d{2,3}-)*x",
]  # fmt: skip
JAVA_ONLY = [
    r"^\p{L}+( \p{L}+)*$",
    r"^\Q(a+)+\E$",
    r"^(?<y>\d{4})$",
    r"^[\p{L}\p{N} _.-]+$",
    r"a*+b",
    r"(?>a+)b",
]


@pytest.mark.parametrize(("pattern", "again", "then"), ENDLESS)
def test_a_pattern_that_doubles_its_time_is_refused(pattern: str, again: str, then: str) -> None:
    def seconds(times: int) -> float:
        def once() -> float:
            began = time.perf_counter()
            re.compile(pattern).search(again * times + then)
            return time.perf_counter() - began

        return min(once(), once())

    with pytest.raises(ValueError, match="ever more ways"):
        refuse_endless(pattern)
    times = next(n for n in range(4, 40) if seconds(n) > 0.005)
    assert seconds(times + 5) > 4 * seconds(times), "the test's own claim"


@pytest.mark.parametrize("pattern", ENDLESS_IN_JAVA)
def test_so_is_one_that_only_python_gets_out_of(pattern: str) -> None:
    with pytest.raises(ValueError, match="ever more ways"):
        refuse_endless(pattern)


@pytest.mark.parametrize("pattern", QUICK + JAVA_ONLY)
def test_a_pattern_of_everyday_use_passes(pattern: str) -> None:
    refuse_endless(pattern)


@pytest.mark.parametrize(
    ("pattern", "says"),
    [(r"(a)\1", "back reference"), ("(", "without its )"), (")", "without its ("), ("[a", "ends in the middle"),
     ("(?P=x)", "cannot be judged"), ("a" * 1001, "1,000 characters"), ("(" * 60 + ")" * 60, "nested"),
     ("(x{90}){90}", "places"), ("(a?){50}", "may be nothing"), ("a\\", "ends in the middle")],
)  # fmt: skip
def test_a_pattern_that_cannot_be_judged_is_refused(pattern: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        refuse_endless(pattern)


PIECES = st.recursive(
    st.sampled_from(["a", "b", "[ab]", "[^a]", ".", r"\w", "ab"]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
        inner.map(lambda one: f"(?:{one})*"),
        inner.map(lambda one: f"(?:{one})+"),
        inner.map(lambda one: f"(?:{one})?"),
    ),
    max_leaves=6,
)


@settings(max_examples=150)
@given(PIECES, st.sampled_from(["a", "b", "ab", "ba", "aab"]))
def test_what_passes_never_takes_for_ever(pattern: str, again: str) -> None:
    try:
        refuse_endless(pattern)
    except ValueError:
        return
    began = time.perf_counter()
    re.compile(f"^{pattern}!").search(again * (48 // len(again)))
    assert time.perf_counter() - began < 1.0, pattern


def test_no_pattern_takes_long_to_judge() -> None:
    words = "|".join(f"{chr(97 + n % 26)}{chr(97 + n // 26)}x" for n in range(60))
    began = time.perf_counter()
    refuse_endless(f"(?:{words})*")
    with pytest.raises(ValueError, match="cannot be judged"):
        refuse_endless("(?:" + "[ab]?" * 80 + "c)+")
    assert time.perf_counter() - began < 5.0


def test_like_may_have_eight_wildcards() -> None:
    refuse_like("%a" * 8)
    with pytest.raises(ValueError, match="8 % at most"):
        refuse_like("%a" * 9)


def test_components_are_the_loops_of_a_graph() -> None:
    graph = {1: [2], 2: [3], 3: [1, 4], 4: [5], 5: [4], 6: [6], 7: [1]}
    assert sorted(sorted(one) for one in components(graph)) == [[1, 2, 3], [4, 5], [6], [7]]
