"""``millrace sql`` and ``register``: a lake asked, and named where others ask it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipelines.options import json_option, lake_option, set_option
from schemas.errors import UsageError

SCREENFUL = 100  # rows of a table on the terminal, unless others are asked for


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
@click.option("--spark", "by_spark", is_flag=True, help="Ask in a Spark session.")
@click.option(
    "--job",
    "job_file",
    type=click.Path(path_type=Path),
    help="With --spark: this job's model is classify(...), its input the view input.",
)
@set_option
@json_option
def sql(query: str, lake: Path, kind: str, out: Path | None, as_json: bool, **asked: Any) -> None:
    """Ask the tables and the shipped views, read-only, without a JVM.

    With --spark, in a Spark session: for what one machine cannot hold, and with a job's model as a
    function. What that computes is on no bill, and no rule of the job is asked.

    \b
    Examples:
      millrace sql "SHOW TABLES" --lake demo-out/digits/lake
      millrace sql "DESCRIBE ledger" --lake demo-out/digits/lake
      millrace sql "SELECT * FROM cost_by_partition" --lake demo-out/digits/lake
      millrace sql "SELECT label, count(*) AS n FROM digits_current GROUP BY label ORDER BY label"
      millrace sql "SELECT * FROM digits_current" --format csv --out digits.csv
      millrace sql --spark --job conf/jobs/digits.yaml "SELECT id, classify(pixels).label FROM input"
    """
    from pipelines.answer import answer, show

    kind = "json" if as_json else kind
    limit, job_file, overrides = asked["limit"], asked["job_file"], asked["overrides"]
    if limit is None and kind == "table" and out is None:
        limit = SCREENFUL
    page = (limit, asked["offset"])
    if asked["by_spark"]:
        from pipelines.spark_sql import asking

        with asking(lake, query, job_file and (job_file, overrides)) as ask:
            show(ask, kind, out, page)
    elif job_file is not None or overrides:
        raise UsageError(
            "a job's model is called by Spark", next="millrace sql --spark --job JOB.yaml ..."
        )
    else:
        answer(lake, query, kind, out, page)


@click.command()
@lake_option
@click.option(
    "--catalog",
    "database",
    required=True,
    metavar="[CATALOG.]DATABASE",
    help="Where the names go; it is made where it is not there.",
)
@click.option("--print", "only_print", is_flag=True, help="Print the SQL, and run nothing.")
@click.option(
    "--conf", multiple=True, metavar="K=V", help="A setting of Spark's, its metastore for one."
)
@json_option
def register(
    lake: Path, database: str, only_print: bool, conf: tuple[str, ...], as_json: bool
) -> None:
    """Name a lake's tables and views in a catalog, for spark-sql, a Thrift server, or a notebook.

    Spark's own Hive metastore is used, or what --conf says. With --print the SQL goes to standard output,
    without a JVM: for a catalog that only another Spark can reach.

    \b
    Examples:
      millrace register --lake demo-out/digits/lake --catalog millrace
      millrace register --lake demo-out/digits/lake --catalog main.scores --print > register.sql
    """
    from pipelines import catalog, console

    told = catalog.statements(lake, database)
    if only_print:
        console.echo("".join(f"{statement};\n" for statement in told).rstrip("\n"))
        return
    settings = {"spark.sql.catalogImplementation": "hive", **_settings(conf)}
    from pipelines.command_session import passing_session

    with passing_session("register", settings) as spark:
        names = catalog.register(spark, lake, database)
    if as_json:
        console.print_json({"database": database, "names": names})
    else:
        console.echo(f"{len(names)} names in {database}: {', '.join(names)}")


def _settings(conf: tuple[str, ...]) -> dict[str, str]:
    if wrong := [pair for pair in conf if "=" not in pair]:
        raise UsageError("--conf wants K=V", got=wrong[0])
    return dict(pair.split("=", 1) for pair in conf)
