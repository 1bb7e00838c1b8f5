"""``millrace plan``: what a run would take and cost, here and elsewhere, before it is paid for."""

from __future__ import annotations

import re
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from pipelines import console, frontier, offers
from pipelines.command_session import session_for
from pipelines.forecast import Range
from pipelines.foresee import Forecast, foresee
from pipelines.offers import Offer
from pipelines.progress import Progress
from pipelines.words import NONE, duration, money
from pipelines.words import count as counted
from schemas.config import Job
from schemas.errors import UsageError

_AGE = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")


def command(
    job: Job, deadline: str | None, chart: Path | None, *, as_json: bool, master: str | None = None
) -> None:
    """Foresee a run of the job and print it; with ``chart``, also as an SVG file."""
    deadline_s = None if deadline is None else seconds_of(deadline)
    if chart is not None and job.cost is None:
        raise UsageError(
            "a chart of cost needs prices",
            got="a job without cost",
            next="set cost.prices and cost.instance",
        )
    with session_for(job, master=master) as spark:
        session_s = time.time() - psutil.Process().create_time()
        told = foresee(spark, job, Progress.of_command(quiet=as_json), session_s, deadline_s)
    if chart is not None:
        everywhere = (told.here, *told.elsewhere)
        drawn = frontier.picture(
            everywhere, told.front, told.chosen, deadline_s, told.currency or ""
        )
        chart.write_text(drawn, "utf-8")
    if as_json:
        console.print_json(as_object(told) | {"chart": chart and str(chart)})
    else:
        _print(told, chart)


def seconds_of(text: str) -> float:
    """The seconds of 90s, 30m, 2h or 1h30m. Raises UsageError for anything else."""
    found = _AGE.fullmatch(text.strip())
    if not found or not any(found.groups()):
        raise UsageError(
            "--deadline is no time",
            got=text,
            allowed="90s, 30m, 2h, 1h30m",
            next="millrace plan --help",
        )
    hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return 3600 * hours + 60 * minutes + seconds


def as_object(told: Forecast) -> dict[str, Any]:
    """What `plan` says as one object; money as a text."""
    return {
        "job": told.job,
        "rows": told.count.rows,
        "rows_told_by": told.count.told_by,
        "rows_are_exact": told.count.is_exact,
        "units": told.units,
        "pilot_rows": told.pilot.rows,
        "past_runs": told.past,
        "deadline_s": told.deadline_s,
        "currency": told.currency,
        "here": _offer(told, told.here),
        "elsewhere": [_offer(told, one) for one in told.elsewhere],
        "cheapest": told.chosen and told.chosen.label,
        "trials": [asdict(trial) for trial in (told.pilot.cold, *told.pilot.warm)],
        "notes": list(told.notes),
    }


def _offer(told: Forecast, one: Offer) -> dict[str, Any]:
    def three(of: Range, written: Any) -> dict[str, Any]:
        return {"low": written(of.low), "mid": written(of.mid), "high": written(of.high)}

    return {
        "instance": one.name,
        "executors": one.executors,
        "slots": one.slots,
        "seconds": three(one.seconds, lambda value: round(value, 3)),
        "cost": None if one.cost is None else three(one.cost, lambda v: str(offers.money(v))),
        "speed": round(one.speed, 4),
        "is_measured": one.is_measured,
        "on_the_front": one in told.front,
        "meets_deadline": told.deadline_s is None or one.seconds.high <= told.deadline_s,
    }


def _print(told: Forecast, chart: Path | None) -> None:
    exact = "" if told.count.is_exact else "about "
    console.echo(
        f"{told.job}: {exact}{counted(told.count.rows)} rows (by {told.count.told_by}) in {told.units}"
        f" unit{'s' * (told.units > 1)}; {counted(told.pilot.rows)} of them were scored as a pilot,"
        f" {told.past} past run{'s' * (told.past != 1)}"
    )
    rows = [_row(told, one) for one in (told.here, *told.elsewhere)]
    console.print_rows(list(rows[0]), rows, "Time and cost, and where 80 % of runs should lie")
    if told.chosen is not None:
        by = "" if told.deadline_s is None else f" that ends within {duration(told.deadline_s)}"
        console.echo(f"the cheapest{by}: {told.chosen.label}")
    elif told.deadline_s is not None and told.currency:
        console.echo(f"nothing here ends within {duration(told.deadline_s)} with certainty enough")
    for note in told.notes:
        console.echo(f"note: {note}")
    if chart is not None:
        console.echo(f"chart: {chart}")


def _row(told: Forecast, one: Offer) -> dict[str, Any]:
    cost = one.cost
    marks = ["cheapest"] if one == told.chosen else []
    marks += ["front"] if one in told.front else []
    marks += ["here"] if one.is_here else []
    return {
        "where": one.label,
        "slots": one.slots,
        "time": duration(one.seconds.mid),
        "from": duration(one.seconds.low),
        "to": duration(one.seconds.high),
        f"cost {told.currency or ''}".strip(): NONE if cost is None else _money(cost.mid),
        "at least": NONE if cost is None else _money(cost.low),
        "at most": NONE if cost is None else _money(cost.high),
        "": ", ".join(marks),
    }


def _money(value: float) -> str:
    return money(offers.money(value))
