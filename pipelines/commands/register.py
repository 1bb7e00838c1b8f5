"""``millrace register``: the tables and views of a lake, named in a catalog."""

from __future__ import annotations

import click

from millrace.pipelines.commands.options import json_option, lake_option
from millrace.pipelines.lake.location import LakeLocation
from millrace.schemas.errors import UsageError


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
    lake: LakeLocation, database: str, only_print: bool, conf: tuple[str, ...], as_json: bool
) -> None:
    """Register a lake's tables and views in a catalog, for spark-sql, a Thrift server, or a notebook.

    The catalog is Spark's own Hive metastore, or the one that --conf sets. With --print the SQL goes to
    standard output, without a JVM: for a catalog that only another Spark can reach.

    \b
    Examples:
      millrace register --lake demo-out/digits/lake --catalog millrace
      millrace register --lake demo-out/digits/lake --catalog main.scores --print > register.sql
    """
    from millrace.pipelines.console import output
    from millrace.pipelines.query import catalog

    statements = catalog.statements(lake, database)
    if only_print:
        output.echo("".join(f"{statement};\n" for statement in statements).rstrip("\n"))
        return
    settings = {"spark.sql.catalogImplementation": "hive", **_settings(conf)}
    from millrace.pipelines.spark.job_session import passing_session

    with passing_session("register", settings) as spark:
        names = catalog.register(spark, lake, database)
    if as_json:
        output.print_json({"database": database, "names": names})
    else:
        output.echo(f"{len(names)} names in {database}: {', '.join(names)}")


def _settings(conf: tuple[str, ...]) -> dict[str, str]:
    if wrong := [pair for pair in conf if "=" not in pair]:
        raise UsageError("--conf wants K=V", got=wrong[0])
    return dict(pair.split("=", 1) for pair in conf)
