"""The page about a run's rules: what it says, what it never says, and that it needs nothing else."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.pipelines.commands.report import write_report
from millrace.pipelines.lake import delta
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.query import validation_details
from millrace.pipelines.reporting import rule_charts, run_page, validation_page
from millrace.pipelines.reporting.rule_charts import SharePoint
from millrace.schemas.errors import UsageError
from millrace.schemas.tables import QUARANTINE, RUNS, VALIDATIONS
from tests.pipelines.reporting.test_run_page import HOSTILE, Page, section

BEGAN = datetime(2026, 3, 5, 7, 11, 13, tzinfo=UTC)
SECRET = "Ada.Lovelace@example.org"


def name(number: int) -> str:
    return f"orders-{number}-abc"


def rule(of: str, failed: int | None, number: int = 3, **more: Any) -> dict[str, Any]:
    known = {"kind": "row", "severity": "error", "columns": ["email"], "definition": f"{of} > 0"}
    counts = {"checked": 1300, "failed": failed, "threshold": 0.0, "passed": not failed}
    about = {"run_id": name(number), "job": "orders", "rule": of, "fingerprint": f"print of {of}"}
    return {**about, **known, **counts, "at": BEGAN + timedelta(days=number), **more}


def begun(lake: Path, number: int, state: str = "done", **more: Any) -> None:
    about = {"run_id": name(number), "job": "orders", "number": number, "at": BEGAN, **more}
    events = [{**about, "event": 0, "state": "started"}, {**about, "event": 1, "state": state}]
    delta.append_values(events, LakeLocation(lake), RUNS, name(number))


def refused(
    values: dict[str, Any], *rules: str, columns: tuple[str, ...] = ("email",)
) -> dict[str, Any]:
    reasons = [
        {"rule": one, "severity": "error", "columns": list(columns), "message": f"{SECRET} is bad"}
        for one in rules
    ]
    row = {"run_id": name(3), "job": "orders", "key": json.dumps({"id": SECRET})}
    return {**row, "payload": json.dumps(values), "reasons": reasons, "stage": "validate"}


def write(lake: Path, rules: list[dict[str, Any]], rows: list[dict[str, Any]]) -> None:
    delta.append_values(rules, LakeLocation(lake), VALIDATIONS, "rules")
    delta.append_values(rows, LakeLocation(lake), QUARANTINE, "rows")


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Three checks of a whole input and a replay between; the third is the one looked at."""
    for number, of in ((1, None), (2, name(1)), (3, None)):
        begun(tmp_path, number, replays=of)
    past = [
        rule("email_like", 13, 1),
        rule("sharp", 26, 1, fingerprint="another"),
        rule("email_like", 999, 2, checked=999),  # a replay's rows are no sample of an input
    ]
    now = [
        rule("email_like", 65, threshold=0.2, passed=True),
        rule("sharp", 39),
        rule("rare", 2, severity="warn"),
        rule("id.unique", 1, kind="unique", definition="unique"),
        rule("record.well_formed", 3, columns=["_malformed"]),
        rule("bright", 0, columns=["light"]),
        rule("ExpectTableRowCountToBeBetween", None, kind="expectation", severity="critical",
             columns=[], passed=True, observed="1300"),
        rule("ExpectColumnMaxToBeBetween", None, kind="expectation", severity="warning",
             passed=False, observed=json.dumps(SECRET)),
    ]  # fmt: skip
    rows = [refused({"email": SECRET}, "email_like")] * 40
    rows += [refused({"email": None}, "email_like", "sharp")] * 25 + [
        refused({"email": "x"}, "sharp")
    ]
    rows += [refused({"email": "xyz"}, "sharp")] * 13
    rows += [refused({"email": None}, "record.well_formed", columns=("_malformed",))] * 3
    write(tmp_path, past + now, rows)
    return tmp_path


def page(lake: Path, **how: Any) -> tuple[str, Page]:
    text = validation_page.write(LakeLocation(lake), name(3), **how).read_text("utf-8")
    return text, Page(text)


def test_the_page_says_of_each_rule_what_failed_what_may_and_how_it_was_before(lake: Path) -> None:
    text, parsed = page(lake)
    broken = section(text, "broken")
    assert "65 of 1,300 rows; at most 20% may" in broken
    assert "1% before, 5% at most" in broken
    titles = re.findall(r"<title>\u2068(.*?)\u2069</title>", text)
    assert "email_like: 65 of 1,300 rows broke it, 5%; at most 20% may" in titles
    assert "email_like: failed share in 2 checks, oldest first: 1%, 5%" in titles
    assert (
        "sharp: failed share in 2 checks, oldest first: 2%, 3%; 1 under another definition"
        in titles
    )
    assert "end at 20% of the rows" in broken
    order = re.findall(r"<h3><bdi>(.*?)</bdi>", text.split('id="together"')[0])
    assert order[:3] == ["email_like", "sharp", "record.well_formed"]
    assert "a value that no other row has" in broken
    assert "Input accepted" in parsed.text
    kept = section(text, "kept")
    assert "bright > 0" in kept
    assert "observed: 1300" in kept


def test_reasons_that_occur_together_are_counted_by_exact_set(lake: Path) -> None:
    text, _ = page(lake)
    together = section(text, "together")
    assert re.findall(r"(\d+) ([\d.]+%)", together) == [
        ("40", "48.8%"), ("25", "30.5%"), ("14", "17.1%"), ("3", "3.7%"),
    ]  # fmt: skip
    assert "82 quarantined rows" in together


def test_no_value_key_or_message_is_on_the_page_unless_it_is_asked_for(lake: Path) -> None:
    text, _ = page(lake)
    for part in (SECRET, "Ada", "Lovelace", "xyz"):
        assert part not in text
    examples = section(text, "examples")
    assert "40 of 40 email : text, 24 characters: letters, punctuation" in examples
    assert "14 of 39 email : text, 1 to 3 characters: letters" in examples
    assert "25 of 39 email : null" in examples
    assert "3 of 3 a record that could not be parsed" in examples
    assert "No quarantined row broke it" in examples  # rows that are tagged are not in quarantine

    shown, _ = page(lake, show_examples=True)
    assert f'40 of 40 email : "{SECRET}" key {{"id": "{SECRET}"}}' in section(shown, "examples")
    assert "13 of 39" in section(shown, "examples")
    assert "This page has values of quarantined rows" in shown
    assert page(lake)[0] == text  # and gone again


def test_a_refused_run_says_what_shut_the_gate(tmp_path: Path) -> None:
    begun(tmp_path, 3, "refused")
    critical = {"kind": "expectation", "severity": "critical", "columns": [], "passed": False}
    write(tmp_path, [rule("ExpectTableRowCountToEqual", None, observed="7", **critical)], [])
    assert "The whole input is refused by ExpectTableRowCountToEqual" in page(tmp_path)[1].text
    other = tmp_path / "other"
    begun(other, 3, "refused")
    write(other, [rule("sharp", 650)], [refused({"email": "x"}, "sharp")] * 650)
    said = page(other)[1].text
    assert (
        "Input refused The input was not accepted: 650 of 1,300 rows were quarantined, 50%. 1 of 1 rule is not kept"
        in said
    )
    assert "more than max_quarantined allows" in said
    third = tmp_path / "third"
    write(
        third,
        [rule("mostly", 650, threshold=0.1), rule("loose", 5, threshold=0.1, passed=True)],
        [],
    )
    assert "The whole input is refused by mostly." in page(third)[1].text.replace(" .", ".")


def test_a_validation_without_a_run_has_a_page_and_no_link_to_a_report(
    lake: Path, tmp_path: Path
) -> None:
    write(tmp_path / "alone", [rule("sharp", 0)], [])
    text, parsed = page(tmp_path / "alone")
    assert "All 1,300 rows keep 1 rule" in parsed.text
    assert "<a " not in text
    with pytest.raises(UsageError, match="no validation of nothing"):
        validation_page.write(LakeLocation(lake), "nothing")


def test_the_two_pages_of_a_run_lead_to_each_other(
    lake: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_report(LakeLocation(lake), name(3), as_json=True)
    said = json.loads(capsys.readouterr().out)
    rules, run = Path(said["validation"]), Path(said["report"])
    assert f'href="{rules.name}"' in run.read_text("utf-8")
    assert f'href="{run.name}"' in rules.read_text("utf-8")
    rules.unlink()
    assert "-validation.html" not in run_page.write(LakeLocation(lake), name(3)).read_text("utf-8")


@pytest.mark.parametrize("how", [{}, {"show_examples": True}])
def test_data_that_tries_to_be_a_script_is_text(tmp_path: Path, how: dict[str, Any]) -> None:
    begun(tmp_path, 3, job=HOSTILE)
    hostile = {"job": HOSTILE, "columns": [HOSTILE], "definition": HOSTILE, "observed": HOSTILE}
    rules = [
        rule(HOSTILE, 3, **{**hostile, "severity": HOSTILE}),
        rule(HOSTILE, None, **{**hostile, "kind": "expectation", "passed": False}),
        rule(HOSTILE, 9, 2, **{**hostile, "severity": HOSTILE}),
    ]
    row = refused({HOSTILE: HOSTILE}, HOSTILE, HOSTILE + "2", columns=(HOSTILE,))
    write(tmp_path, rules, [{**row, "key": HOSTILE}] * 3)
    text, parsed = page(tmp_path, **how)
    assert "script" not in parsed.tags
    assert "<script" not in text
    assert "alert(" in parsed.text  # it is there, as text
    assert "{{ 7*7 }}" in parsed.text


def test_the_page_is_whole_needs_nothing_else_and_can_be_read_without_seeing_it(lake: Path) -> None:
    text, parsed = page(lake)
    assert not re.search(r"(src|href)=\"(https?:)?//|@import|url\(|<script|<link|<iframe", text)
    assert parsed.tags.count("h1") == 1
    assert {"header", "main", "footer"} <= set(parsed.tags)
    assert all("title" in svg for svg in parsed.svgs)
    assert len(parsed.svgs) == text.count('role="img"') > 0
    labelled = re.findall(r'<section aria-labelledby="(\w+)"', text)
    assert all(f'id="{one}"' in text for one in labelled)
    assert text.count("<table>") == text.count("<caption>")
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


TEXT, GRAPHIC = 4.5, 3.0  # contrast that WCAG 2.2 asks for


def test_colours_stand_out_from_what_they_are_on(lake: Path) -> None:
    text, _ = page(lake)
    schemes = re.findall(r":root \{(.*?)\}", text, re.DOTALL)
    assert len(schemes) == 3  # light, dark, and print, which may follow either
    for scheme in schemes:
        colour = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", scheme))
        for one in ("ink", "soft", "good", "bad"):
            for ground in ("paper", "panel"):
                assert contrast(colour[one], colour[ground]) >= TEXT, (one, ground)
        for one in ("refused", "tagged", "mark"):
            assert contrast(colour[one], colour["track"]) >= GRAPHIC, one
        assert contrast(colour["trend"], colour["paper"]) >= GRAPHIC


def contrast(one: str, other: str) -> float:
    bright, dim = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


NUMBER = re.compile(r'(?:width|x|cx|cy)="([-\d.]+)"')


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_share_is_drawn_within_its_bar_and_more_than_nothing_is_seen(
    share: float, limit: float
) -> None:
    top = rule_charts.top_of([share, limit])
    assert max(share, limit) <= top <= 1
    drawn = str(rule_charts.share_bar(share, limit, top, "k-refused", "t"))
    assert all(0 <= float(n) <= rule_charts.WIDE for n in NUMBER.findall(drawn))
    assert ("k-refused" in drawn) == (share > 0)


@given(st.lists(st.builds(SharePoint, st.floats(0, 1), st.booleans()), min_size=1, max_size=30))
def test_a_line_stays_within_its_picture(points: list[SharePoint]) -> None:
    drawn = str(rule_charts.sparkline(points, "t"))
    (line,) = re.findall(r'points="(.*?)"', drawn)
    places = [tuple(map(float, place.split(","))) for place in line.split()]
    assert len(places) == len(points)
    assert all(0 <= x <= 132 and 0 <= y <= 32 for x, y in places)


SETS = st.lists(st.lists(st.sampled_from("abcd"), min_size=1, unique=True), max_size=30)


@settings(max_examples=20)
@given(SETS)
def test_sets_of_rules_are_counted_as_a_loop_over_the_rows_would(
    tmp_path_factory: pytest.TempPathFactory, broken: list[list[str]]
) -> None:
    lake = tmp_path_factory.mktemp("sets")
    rows = [refused({}, *rules) for rules in broken]
    delta.append_values(
        [*rows, {**refused({}, "z"), "run_id": "another"}], LakeLocation(lake), QUARANTINE, "rows"
    )
    counted: dict[tuple[str, ...], int] = {}
    for rules in broken:
        counted[tuple(rules)] = counted.get(tuple(rules), 0) + 1
    assert validation_details._together(LakeLocation(lake), name(3)) == counted
