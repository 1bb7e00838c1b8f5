"""``millrace plan``: forecast time and cost of a run, here and on other instances."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from millrace.pipelines.commands.options import (
    EXIT_CODES,
    job_argument,
    json_option,
    log_option,
    set_option,
)
from millrace.schemas.errors import UsageError

if TYPE_CHECKING:
    from millrace.pipelines.planning.forecast import Forecast


@click.command(epilog=EXIT_CODES)
@job_argument
@set_option
@click.option(
    "--deadline", metavar="TIME", help="90s, 30m or 1h30m: mark the cheapest that meets it."
)
@click.option(
    "--chart", type=click.Path(path_type=Path, dir_okay=False), help="Also draw it, as an SVG file."
)
@json_option
@log_option
def plan(
    job_file: Path,
    overrides: tuple[str, ...],
    deadline: str | None,
    chart: Path | None,
    as_json: bool,
) -> None:
    """Forecast rows, time and cost of a run, here and on the price book's other instances.

    The command scores a small part of the input to measure, and keeps no prediction. Past runs of the job
    correct the forecast.

    \b
    Examples:
      millrace plan job.yaml
      millrace plan job.yaml --deadline 30m --chart plan.svg
      millrace plan job.yaml --set cost.instance=c7i.xlarge --json
    """
    from millrace.pipelines.api import jobs
    from millrace.pipelines.api.progress_events import TerminalProgress
    from millrace.pipelines.console import output
    from millrace.pipelines.console.durations import parse_duration
    from millrace.pipelines.spark.job_session import process_began

    deadline_s = None
    if deadline is not None:
        deadline_s = parse_duration(deadline, "--deadline").total_seconds()
    job = jobs.load_job_file(job_file, overrides)
    if chart is not None:
        _check_chart(chart, is_priced=job.cost is not None)
    forecast = jobs.plan(
        job,
        deadline_s=deadline_s,
        on_progress=TerminalProgress(quiet=as_json),
        held_since=process_began(),
    )
    from millrace.pipelines.planning.forecast_table import as_json as values_of

    if chart is not None:
        _draw(forecast, chart)
    if as_json:
        output.print_json(values_of(forecast) | {"chart": chart and str(chart)})
    else:
        _print(forecast, chart)


def _check_chart(chart: Path, *, is_priced: bool) -> None:
    from millrace.pipelines.lake.write_access import check_file

    if not is_priced:
        raise UsageError(
            "a chart of cost needs prices",
            got="a job without cost",
            next="set cost.prices and cost.instance",
        )
    check_file(chart, "--chart")


def _draw(forecast: Forecast, chart: Path) -> None:
    from millrace.pipelines.planning import cost_time_chart

    offers = (forecast.here, *forecast.elsewhere)
    picture = cost_time_chart.picture(
        offers, forecast.front, forecast.chosen, forecast.deadline_s, forecast.currency or ""
    )
    chart.write_text(picture, "utf-8")


def _print(forecast: Forecast, chart: Path | None) -> None:
    from millrace.pipelines.console import output
    from millrace.pipelines.console.formatting import duration
    from millrace.pipelines.planning import forecast_table

    output.echo(forecast_table.summary(forecast))
    rows = forecast_table.rows(forecast)
    output.print_rows(list(rows[0]), rows, "Time and cost, and where 80 % of runs should lie")
    if forecast.chosen is not None:
        by = ""
        if forecast.deadline_s is not None:
            by = f" that ends within {duration(forecast.deadline_s)}"
        output.echo(f"the cheapest{by}: {forecast.chosen.label}")
    elif forecast.deadline_s is not None and forecast.currency:
        output.echo(
            f"nothing here ends within {duration(forecast.deadline_s)} with certainty enough"
        )
    for note in forecast.notes:
        output.echo(f"note: {note}")
    if chart is not None:
        output.echo(f"chart: {chart}")
