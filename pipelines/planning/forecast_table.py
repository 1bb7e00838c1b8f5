"""A forecast as plain values: one object for machines, one row an offer for people."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from millrace.pipelines.console.formatting import NONE, count, duration, money
from millrace.pipelines.inference.time_model import Estimate
from millrace.pipelines.planning import alternatives
from millrace.pipelines.planning.alternatives import Offer
from millrace.schemas.html import table

if TYPE_CHECKING:
    from millrace.pipelines.planning.forecast import Forecast


def as_json(forecast: Forecast) -> dict[str, Any]:
    """Return the forecast as plain values; money as a text."""
    return {
        "job": forecast.job,
        "rows": forecast.count.rows,
        "rows_counted_from": forecast.count.counted_from,
        "rows_are_exact": forecast.count.is_exact,
        "units": forecast.units,
        "pilot_rows": forecast.pilot.rows,
        "past_runs": forecast.past,
        "deadline_s": forecast.deadline_s,
        "currency": forecast.currency,
        "here": _offer(forecast, forecast.here),
        "elsewhere": [_offer(forecast, one) for one in forecast.elsewhere],
        "cheapest": forecast.chosen and forecast.chosen.label,
        "trials": [asdict(trial) for trial in (forecast.pilot.cold, *forecast.pilot.warm)],
        "notes": list(forecast.notes),
    }


def summary(forecast: Forecast) -> str:
    """Return a sentence about rows, units, the pilot and past runs."""
    about = "" if forecast.count.is_exact else "about "
    return (
        f"{forecast.job}: {about}{count(forecast.count.rows)} rows (by {forecast.count.counted_from}) in"
        f" {forecast.units} unit{'s' * (forecast.units > 1)}; {count(forecast.pilot.rows)} of them were"
        f" scored as a pilot, {forecast.past} past run{'s' * (forecast.past != 1)}"
    )


def rows(forecast: Forecast) -> list[dict[str, Any]]:
    """Return one row an offer, this session first: where, time and cost with their bounds, marks."""
    return [_row(forecast, one) for one in (forecast.here, *forecast.elsewhere)]


def html(forecast: Forecast) -> str:
    """Return the forecast as an HTML table."""
    offers = rows(forecast)
    return table(summary(forecast), list(offers[0]), [list(one.values()) for one in offers])


def _offer(forecast: Forecast, one: Offer) -> dict[str, Any]:
    def bounds(of: Estimate, written: Any) -> dict[str, Any]:
        return {"low": written(of.low), "mid": written(of.mid), "high": written(of.high)}

    deadline_s, cost = forecast.deadline_s, one.cost
    return {
        "instance": one.name,
        "executors": one.executors,
        "slots": one.slots,
        "seconds": bounds(one.seconds, lambda value: round(value, 3)),
        "cost": None if cost is None else bounds(cost, lambda v: str(alternatives.money(v))),
        "speed": round(one.speed, 4),
        "is_measured": one.is_measured,
        "on_the_front": one in forecast.front,
        "meets_deadline": deadline_s is None or one.seconds.high <= deadline_s,
    }


def _row(forecast: Forecast, one: Offer) -> dict[str, Any]:
    cost = one.cost
    marks = ["cheapest"] if one == forecast.chosen else []
    marks += ["front"] if one in forecast.front else []
    marks += ["here"] if one.is_here else []
    return {
        "where": one.label,
        "slots": one.slots,
        "time": duration(one.seconds.mid),
        "from": duration(one.seconds.low),
        "to": duration(one.seconds.high),
        f"cost {forecast.currency or ''}".strip(): NONE if cost is None else _money(cost.mid),
        "at least": NONE if cost is None else _money(cost.low),
        "at most": NONE if cost is None else _money(cost.high),
        "": ", ".join(marks),
    }


def _money(value: float) -> str:
    return money(alternatives.money(value))
