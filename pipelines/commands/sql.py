"""``millrace sql``: a read-only query over a lake, without a JVM or in a Spark session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from millrace.pipelines.commands.options import json_option, lake_option, set_option
from millrace.pipelines.lake.location import LakeLocation
from millrace.schemas.errors import UsageError

TERMINAL_ROWS = 100  # of a table on the terminal, by default


@click.command()
@click.argument("query")
@lake_option
@click.option(
    "--format",
    "kind",
    type=click.Choice(["table", "csv", "json", "parquet"]),
    default="table",
    show_default=True,
    help="What the rows are written as.",
)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="A file for them.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    help="At most so many rows; a table on the terminal has 100.",
)
@click.option(
    "--offset", type=click.IntRange(min=0), default=0, help="Leave out so many rows first."
)
@click.option("--spark", "by_spark", is_flag=True, help="Run the query in a Spark session.")
@click.option(
    "--job",
    "job_file",
    type=click.Path(path_type=Path),
    help="With --spark: this job's model is classify(...), its input the view input.",
)
@set_option
@json_option
def sql(
    query: str, lake: LakeLocation, kind: str, out: Path | None, as_json: bool, **options: Any
) -> None:
    """Query the tables and the shipped views, read-only, without a JVM.

    With --spark the query runs in a Spark session: for more rows than one machine holds, and with a job's
    model as a function. No bill has what that computes, and no rule of the job applies.

    \b
    Examples:
      millrace sql "SHOW TABLES" --lake demo-out/digits/lake
      millrace sql "DESCRIBE ledger" --lake demo-out/digits/lake
      millrace sql "SELECT * FROM cost_by_partition" --lake demo-out/digits/lake
      millrace sql "SELECT label, count(*) AS n FROM digits_current GROUP BY label ORDER BY label"
      millrace sql "SELECT * FROM digits_current" --format csv --out digits.csv
      millrace sql --spark --job job.yaml "SELECT id, classify(pixels).label FROM input"
    """
    from millrace.pipelines.commands.printing.query_rows import answer, write_rows

    if out is not None:
        from millrace.pipelines.lake.write_access import check_file

        check_file(out, "--out")
    kind = "json" if as_json else kind
    limit, job_file, overrides = options["limit"], options["job_file"], options["overrides"]
    if limit is None and kind == "table" and out is None:
        limit = TERMINAL_ROWS
    page = (limit, options["offset"])
    if options["by_spark"]:
        from millrace.pipelines.api.spark_sql import open_query

        with open_query(lake, query, job_file and (job_file, overrides)) as fetch:
            write_rows(fetch, kind, out, page)
    elif job_file is not None or overrides:
        raise UsageError(
            "a job's model is called by Spark", next="millrace sql --spark --job JOB.yaml ..."
        )
    else:
        answer(lake, query, kind, out, page)
