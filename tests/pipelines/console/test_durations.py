from __future__ import annotations

from datetime import timedelta

import pytest

from millrace.pipelines.console.durations import parse_duration
from millrace.schemas.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), ("2h", 7200), ("1h30m", 5400), ("1.5m", 90), ("1d12h", 129600)],
)
def test_a_duration_is_hours_minutes_and_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text, "--deadline").total_seconds() == seconds


@pytest.mark.parametrize(("text", "hours"), [("7d", 168), ("36h", 36), (" 1d ", 24)])
def test_a_duration_is_days_or_hours(text: str, hours: int) -> None:
    assert parse_duration(text, "--older-than") == hours * timedelta(hours=1)


@pytest.mark.parametrize(
    "text",
    ["", "soon", "30", "5m1h", "-3s", "7", "0d", "0s", "-1d", "1.5d", "7 d", "1w", "999999d"],
)
def test_other_texts_are_refused_by_the_option_s_name(text: str) -> None:
    with pytest.raises(UsageError, match="--older-than is not a duration"):
        parse_duration(text, "--older-than")
