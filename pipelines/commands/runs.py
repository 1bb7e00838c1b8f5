"""``millrace runs``: list the runs of a lake."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from millrace.pipelines.commands.options import json_option, lake_option
from millrace.pipelines.lake.location import LakeLocation

RUNS_SQL = (
    "SELECT run_id, state, at, rows_read, scored, quarantined, failed, wall_s, cost, currency "
    "FROM runs_current ORDER BY at DESC"
)


@click.command()
@lake_option
@json_option
def runs(lake: LakeLocation, as_json: bool) -> None:
    """List the runs of a lake with their state, rows, time and cost.

    Ids are as short as they are unique; show and report accept them so. --json has whole ids, times to
    the microsecond and every digit of the cost.

    \b
    Example:
      millrace runs --lake demo-out/digits/lake
    """
    if as_json:
        from millrace.pipelines.commands.printing.query_rows import answer

        answer(lake, RUNS_SQL, "json")
    else:
        from millrace.pipelines.commands.printing.run_list import print_runs

        print_runs(lake, datetime.now(UTC))
