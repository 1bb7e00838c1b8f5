"""The page about all runs of a lake: what it says, what it never says, and that it needs nothing else."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.pipelines.commands.report import write_overview, write_report
from millrace.pipelines.console.formatting import NONE
from millrace.pipelines.lake import delta
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.query.run_details import KINDS
from millrace.pipelines.reporting import lake_page, run_page, trend_chart
from millrace.pipelines.reporting.trend_chart import TrendPoint
from millrace.schemas.errors import QueryError, UsageError
from millrace.schemas.tables import LEDGER, RUNS, UNITS, VALIDATIONS
from tests.pipelines.reporting.test_run_page import (
    BEGAN,
    HOSTILE,
    TOTALS,
    Page,
    events,
    rule,
    spent,
    write,
)

HEAD = re.compile(r"<style>.*?</style>", re.DOTALL)


def run_of(
    number: int, job: str = "digits", state: str = "done", **more: Any
) -> list[dict[str, Any]]:
    told = {**TOTALS, **more} if state == "done" else more
    about = {"job": job, "number": number}
    at = {"at": BEGAN + timedelta(days=number)}
    first, *rest = events(state, f"{job[:6]}-{number}", **told)
    return [
        {**first, **about, **at},
        *({**one, **about, "at": at["at"] + timedelta(seconds=37)} for one in rest),
    ]


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Three runs of a job that are done, one that failed on the way, and another job's that is at work."""
    cost = {"cost": Decimal("0.002558"), "infer_s": 10.0}
    told = [*run_of(1), *run_of(2, **cost), *run_of(3, books_closed=False)]
    told += run_of(4, state="failed", detail="RunFailed: SECRET broke\n  next:    again")
    told += run_of(1, "other", "started")
    write(tmp_path, RUNS, told)
    done = {"run_id": "digits-4", "job": "digits", "state": "done", "at": BEGAN}
    write(tmp_path, UNITS, [{**done, "unit": 0, "scored": 100, "failed": 2}] * 2)
    write(tmp_path, VALIDATIONS, [rule("sharp", 17, run_id="digits-4")])
    write(
        tmp_path,
        LEDGER,
        [
            spent("useful", 3000, "0.0000013", x_RunId="digits-4"),
            spent("idle", 1000, "0", x_RunId="digits-4"),
        ],
    )
    return tmp_path


def page(lake: Path) -> tuple[str, Page]:
    text = lake_page.write(LakeLocation(lake)).read_text(encoding="utf-8")
    return text, Page(text)


def rows(text: str) -> list[str]:
    """Each run's line, without tags."""
    found = re.findall(r"<tr>\s*<th scope=\"row\">.*?</tr>", text, re.DOTALL)
    plain = (re.sub(r"<title>.*?</title>|<[^>]+>", " ", one, flags=re.DOTALL) for one in found)
    return [" ".join(unescape(one).split()) for one in plain]


def test_each_run_has_a_line_the_newest_first(lake: Path) -> None:
    text, parsed = page(lake)
    failed, third, second, first, other = rows(text)
    assert failed.startswith("digits-4 9 March 2026, 07:11 UTC Failed RunFailed 100 of 1,297")
    assert "37 s" in failed
    assert "75% scoring rows" in failed
    assert "0.00000130" in failed  # by the ledger: a run that failed has no total
    assert "1,279 of 1,297 17 quarantined, 1 failed 32 s 113 rows/s" in first
    assert second.endswith("0.00256 USD 0.00200")
    assert "books open" in third
    assert "books open" not in first
    assert other == "other-1 6 March 2026, 07:11 UTC Not finished not counted" + 4 * f" {NONE}"
    assert "5 runs of 2 jobs, 3 done" in parsed.text


@pytest.mark.parametrize(("state", "time"), [("done", "32 s"), ("failed", "37 s")])
def test_a_run_that_went_on_says_that_its_time_is_the_last_attempts(
    tmp_path: Path, state: str, time: str
) -> None:
    first, last = run_of(1, state=state)
    later = timedelta(hours=1)
    resumed = {**first, "event": 1, "state": "resumed", "at": first["at"] + later}
    write(tmp_path, RUNS, [first, resumed, {**last, "event": 2, "at": last["at"] + later}])
    (line,) = rows(page(tmp_path)[0])
    assert f" {time} the last of 2 attempts" in line
    assert "rows/s" not in line  # other attempts scored some of them


def test_a_job_with_two_runs_that_are_done_has_trends_in_words(lake: Path) -> None:
    text, parsed = page(lake)
    assert "From 113 to 113 over 3 runs; between 113 and 128." in parsed.text
    assert "between 0.00000336 USD and 0.00200 USD." in parsed.text
    assert "Share quarantined 1.3%" in parsed.text
    assert text.count("<polyline") == 3


def test_the_page_is_well_formed_and_needs_nothing_else(lake: Path) -> None:
    text, parsed = page(lake)
    assert not re.search(r"http|src=|<script|url\(|@import| on\w+=", text)
    landmarks = [tag for tag in parsed.tags if tag in ("header", "h1", "nav", "main", "footer")]
    assert landmarks == ["header", "h1", "nav", "main", "footer"]
    assert all("title" in inside for inside in parsed.svgs)
    assert parsed.tags.count("caption") == parsed.tags.count("table") == 2
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    pointed = re.findall(r'(?:aria-labelledby="|href="#)([^"]+)"', text)
    assert set(pointed) <= set(ids)
    assert "SECRET" not in text
    for name in ("prefers-color-scheme: dark", "@media print", "max-width"):
        assert name in text


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    told = {"job": HOSTILE, "currency": "<u>", "model": HOSTILE}
    first = [{**one, **told} for one in [*run_of(1), *run_of(2)]]
    failed = [
        {**one, "job": HOSTILE} for one in run_of(3, state="failed", detail=f"{HOSTILE}: {HOSTILE}")
    ]
    states = [{**one, "job": HOSTILE, "state": HOSTILE} for one in run_of(4, state="failed")]
    named = [{**one, "run_id": f"../{HOSTILE}"} for one in run_of(5)]
    write(tmp_path, RUNS, [*first, *failed, *states, *named])
    write(tmp_path, LEDGER, [spent(HOSTILE, 5, "0.1", x_RunId="digits-3", BillingCurrency="<i>")])
    text, parsed = page(tmp_path)
    body = HEAD.sub("", text)
    assert not re.search(r"<script|<u>|<i>|onerror", body)
    assert "alert('x')" in unescape(body)  # it is shown, as text
    assert not {"script", "u", "i"} & set(parsed.tags)
    assert "{{" not in re.sub(r"\{\{ 7\*7 \}\}", "", unescape(body))
    assert ">49<" not in body


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_and_lines_have_contrast_in_light_and_dark(lake: Path) -> None:
    text, _ = page(lake)
    schemes = re.findall(r":root \{(.*?)\}", text, re.DOTALL)[:2]
    kinds = re.findall(r"html \{([^}]*--useful.*?)\}", text, re.DOTALL)
    assert len(schemes) == len(kinds) == 2
    for scheme, of_kinds in zip(schemes, kinds, strict=True):
        colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", scheme + of_kinds))
        assert colours.keys() >= KINDS.keys()
        assert len({colours[kind] for kind in KINDS}) == len(KINDS)  # none looks like another
        for name, least in (("ink", 7), ("soft", 4.5), ("good", 4.5), ("bad", 4.5), ("useful", 3)):
            pair = sorted((luminance(colours[name]), luminance(colours["paper"])))
            assert (pair[1] + 0.05) / (pair[0] + 0.05) >= least, (name, scheme)


def test_runs_have_links_to_the_pages_that_are_there(lake: Path) -> None:
    run_page.write(LakeLocation(lake), "digits-2")
    text, _ = page(lake)
    links = re.findall(r'href="([^#"]+)"', text)
    assert links == ["digits-2.html"]
    assert all((lake / "_reports" / link).is_file() for link in links)
    assert 'href="index.html"' in (lake / "_reports" / "digits-2.html").read_text()


def test_the_command_writes_it_alone_or_with_a_report(
    lake: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_overview(LakeLocation(lake), as_json=True)
    path = lake / "_reports" / "index.html"
    assert json.loads(capsys.readouterr().out) == {"index": str(path)}
    path.unlink()
    write_report(LakeLocation(lake), "digits-4", as_json=False)
    assert capsys.readouterr().out.splitlines()[-1] == str(path)
    assert path.is_file()


def test_without_runs_there_is_an_error_and_no_page(tmp_path: Path) -> None:
    with pytest.raises(QueryError):
        lake_page.write(LakeLocation(tmp_path))
    write(tmp_path, RUNS, [])
    with pytest.raises(UsageError, match="no runs"):
        lake_page.write(LakeLocation(tmp_path))
    assert not (tmp_path / "_reports").exists()


def test_many_runs_are_cut_and_the_page_stays_small(tmp_path: Path) -> None:
    told = [event for number in range(1, 301) for event in run_of(number)]
    write(tmp_path, RUNS, told)
    text, _ = page(tmp_path)
    assert len(rows(text)) == lake_page.SHOWN
    assert "300 runs, of which the newest 200 are below" in " ".join(text.split())
    assert len(text) < 1_000_000


@given(st.lists(st.none() | st.floats(0, 1e300), max_size=130))
def test_a_trend_lies_within_its_picture(values: list[float | None]) -> None:
    drawn = trend_chart.line([TrendPoint("<p>", value) for value in values], "<title>")
    Page(f"<main>{drawn}</main>")
    assert "<p>" not in drawn
    for x, y in re.findall(r"([\d.]+),([\d.]+)", drawn):
        assert 0 <= float(x) <= 480
        assert 0 <= float(y) <= 120


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf")])
def test_a_number_that_is_none_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        trend_chart.line([TrendPoint("", wrong)], "")


@pytest.mark.slow
def test_the_report_of_a_thousand_units_is_made_in_five_seconds_and_small(tmp_path: Path) -> None:
    """A million rows in a thousand units, sixteen partitions each: 16,000 attempts of two kinds."""
    told = [{**one, "units_done": 1000, "units_total": 1000} for one in run_of(1)]
    name = told[0]["run_id"]
    delta.append_values(told, LakeLocation(tmp_path), RUNS, "runs")
    unit = {
        "run_id": name,
        "job": "digits",
        "state": "done",
        "failed": 0,
        "scored": 1000,
        "at": BEGAN,
    }
    delta.append_values(
        [{**unit, "unit": n} for n in range(1000)], LakeLocation(tmp_path), UNITS, "units"
    )
    for part in range(10):
        charges = [
            spent(kind, 700, "0.0001", partition, x_RunId=name, x_Unit=n, x_StageId=n,
                  x_TaskId=16 * n + partition, SkuMeter=meter)
            for n in range(100 * part, 100 * part + 100)
            for partition in range(16)
            for kind in ("useful", "read")
            for meter in ("Core", "Memory")
        ]  # fmt: skip
        delta.append_values(charges, LakeLocation(tmp_path), LEDGER, f"charges:{part}")
    began = time.process_time()  # of all threads: a busy machine stretches the other clock
    path = run_page.write(LakeLocation(tmp_path), name)
    report_s = time.process_time() - began
    assert path.stat().st_size < 3_000_000
    assert report_s < 5
    assert lake_page.write(LakeLocation(tmp_path)).stat().st_size < 3_000_000


def test_a_lake_from_before_some_columns_has_its_pages(tmp_path: Path) -> None:
    newer = {"replays", "gates", "forecast", "settings"}
    told = [{k: v for k, v in run.items() if k not in newer} for run in run_of(1)]
    columns = tuple(column for column in RUNS.columns if column.name not in newer)
    write(tmp_path, replace(RUNS, columns=columns), told)

    assert "digits-1" in lake_page.write(LakeLocation(tmp_path)).read_text("utf-8")
    assert "digits-1" in run_page.write(LakeLocation(tmp_path), "digits-1").read_text("utf-8")
