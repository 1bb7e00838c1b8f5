"""A lake's tables and views in a catalog, so that every SQL client finds them by name."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import sqlglot
from pyspark.sql import SparkSession
from sqlglot import exp

from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.query.engine import fields
from millrace.pipelines.query.views import literal, shown, tables
from millrace.schemas.errors import UsageError

DIALECT = "spark"


def statements(lake: LakeLocation, database: str) -> list[str]:
    """Spark's SQL that names all tables of a lake, and the shipped views, in ``[catalog.]database``.

    Run again after a job wrote its first row: a table or a view that is new gets its name. Raises
    QueryError where there is no lake.
    """
    columns = {name: fields(lake, name) for name in tables(lake)}
    made = shown(columns)
    known = {*columns, *(view.name for view in made)}
    within = exp.to_table(database, dialect=DIALECT)
    texts = [f"CREATE DATABASE IF NOT EXISTS {within.sql(DIALECT)}"]
    for name in columns:
        place = literal(lake.folder(name).absolute().as_uri()).replace("\\", "\\\\")
        texts.append(
            f"CREATE TABLE IF NOT EXISTS {_full(name, within)} USING delta LOCATION {place}"
        )
    for view in made:
        text = _qualified(view.sql(columns.get(view.over, ())), known, within)
        texts.append(f"CREATE OR REPLACE VIEW {_full(view.name, within)} AS {text}")
    return texts


def register(spark: SparkSession, lake: LakeLocation, database: str) -> list[str]:
    """Run the `statements`; the names that the catalog then has.

    Raises UsageError where it has a table of another lake by such a name.
    """
    texts = statements(lake, database)
    within = exp.to_table(database, dialect=DIALECT)
    spark.sql(texts[0])
    for name in tables(lake):
        _refuse_another(spark, lake.folder(name), _full(name, within))
    for statement in texts[1:]:
        spark.sql(statement)
    return [row.tableName for row in spark.sql(f"SHOW TABLES IN {within.sql(DIALECT)}").collect()]


def _refuse_another(spark: SparkSession, folder: Path, name: str) -> None:
    if not spark.catalog.tableExists(name):
        return
    (detail,) = spark.sql(f"DESCRIBE DETAIL {name}").collect()
    if Path(detail.location.removeprefix("file:")) != folder.absolute():
        raise UsageError(
            f"the catalog has another table {name}",
            got=detail.location,
            allowed=str(folder.absolute()),
            next="name another database, or drop that table",
        )


def _full(name: str, within: exp.Table) -> str:
    return f"{within.sql(DIALECT)}.{exp.to_identifier(name, quoted=True).sql(DIALECT)}"


def _qualified(sql: str, known: Collection[str], within: exp.Table) -> str:
    """The text of a view in Spark's dialect, the tables that it reads named in full."""
    tree = sqlglot.parse_one(sql)
    own = {cte.alias for cte in tree.find_all(exp.CTE)}
    for table in tree.find_all(exp.Table):
        if table.name in known and table.name not in own:
            table.set("db", within.this.copy())
            table.set("catalog", within.args.get("db") and within.args["db"].copy())
    return tree.sql(DIALECT)
