"""The shipped SQL views: which of them a lake allows, in which order, and their text for an engine.

The files in ``schemas/views`` are plain SQL, common to Spark and DataFusion but for ``UNNEST`` and
quotes; sqlglot turns them into Spark's. They cast what they add, since DataFusion's sums wrap: bigint
to DECIMAL(19, 0), amounts to DECIMAL(28, 12), whose sums have ten digits more in both engines.
Nothing here imports pyspark: `millrace.pipelines.query.engine` must start fast.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from graphlib import TopologicalSorter
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import sqlglot

from millrace.pipelines.lake.location import LakeLocation
from millrace.schemas.errors import QueryError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PREDICTIONS = "predictions_"
TEMPLATE = "job_current"
RUNS = "runs"  # which says in which order they were
ROLE = "millrace.role"  # as in schemas/tables/table.py, whose import costs a query 0.15 s
_NAMED = re.compile(r"\b(?:FROM|JOIN)\s+(\w+)")  # as the shipped views are written
HIDDEN = ("error", "_meter", "_input")  # null in every good score, the bill's, the cache's

# A column's name and its metadata, as the table's Delta schema has them.
Fields = Sequence[tuple[str, Mapping[str, Any]]]


@dataclass(frozen=True)
class View:
    """A view by its name; ``over`` is the predictions table of a ``<job>_current`` view."""

    name: str
    text: str
    over: str = ""

    @cached_property
    def needs(self) -> frozenset[str]:
        """The tables and views it reads."""
        return frozenset({self.over, RUNS}) if self.over else frozenset(_tables_named(self.text))

    def sql(self, fields: Fields = ()) -> str:
        """Return its SELECT; ``fields`` are the columns of `over`, one at least marked as key."""
        if not self.over:
            return self.text
        key = key_columns(fields)
        if not key:
            raise QueryError(
                f"view {self.name} needs to know the key of table {self.over}",
                got=f"no column with metadata {ROLE}: key",
                next=f"select from {self.over} itself, or write it anew with `millrace run`",
            )
        shown = [name for name, _ in fields if name not in HIDDEN]
        return self.text.format(columns=_list(shown), key=_list(key), table=quoted(self.over))


def quoted(name: str) -> str:
    """Put an identifier in SQL's own quotes."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: str) -> str:
    """Put a text in SQL's own quotes."""
    return "'" + value.replace("'", "''") + "'"


def key_columns(fields: Fields) -> list[str]:
    """List the columns whose metadata call them key."""
    return [name for name, metadata in fields if metadata.get(ROLE) == "key"]


def for_spark(sql: str) -> str:
    """Translate the text of a view to Spark's dialect."""
    return sqlglot.transpile(sql, write="spark")[0]


def tables(lake: LakeLocation) -> list[str]:
    """List the names of a lake's Delta tables; QueryError where there is no lake or none in it."""
    if not lake.exists:
        raise QueryError(
            f"no lake at {lake}",
            got="a file" if lake.root.exists() else "nothing there",
            allowed="the folder that output.path in the job file names",
            next="run a job first, or name that folder",
        )
    if lake.is_table:
        raise QueryError(
            f"{lake} is one table, not a lake",
            next=f"name the folder that holds it: {lake.root.absolute().parent}",
        )
    found = lake.tables()
    if not found:
        raise QueryError(
            f"no tables in {lake}",
            got="an empty folder"
            if not any(lake.root.iterdir())
            else "no sub-folder that is a Delta table",
            next="run a job that writes there (output.path), or name another folder",
        )
    return found


def views(existing: Collection[str]) -> dict[str, View]:
    """Return the views that can be made of these tables, each after those it needs.

    Raises QueryError where a table has a view's name.
    """
    made = {name: View(name, text) for name, text in _shipped().items() if name != TEMPLATE}
    for table in sorted(existing):
        if table.startswith(PREDICTIONS):
            name = table.removeprefix(PREDICTIONS) + "_current"
            if name in made:
                raise QueryError(f"table {table}: its view would be {name}, a name that is taken")
            made[name] = View(name, _shipped()[TEMPLATE], over=table)
    if taken := sorted(set(made) & set(existing)):
        raise QueryError(
            f"table {taken[0]} has the name of a shipped view",
            allowed="any other name",
            next=f"rename its folder in the lake: {taken[0]}",
        )
    ordered: dict[str, View] = {}
    for name in TopologicalSorter({name: view.needs for name, view in made.items()}).static_order():
        if name in made and made[name].needs <= {*existing, *ordered}:
            ordered[name] = made[name]
    return ordered


def shown(fields: Mapping[str, Fields]) -> list[View]:
    """The views that can be made of these tables, by name and columns, each after those it needs.

    A predictions table without marked keys gets none.
    """
    made = views(fields).values()
    return [view for view in made if not view.over or key_columns(fields[view.over])]


def register(spark: SparkSession, lake: LakeLocation) -> list[str]:
    """Make temporary views of all tables and views of a lake, and return their names.

    They read the tables as they are now.
    """
    found = tables(lake)
    fields: dict[str, Fields] = {}
    for table in found:
        frame = spark.read.format("delta").load(lake.uri(table))
        fields[table] = [(field.name, field.metadata or {}) for field in frame.schema.fields]
        frame.createOrReplaceTempView(_backticked(table))
    made = shown(fields)
    for view in made:
        text = for_spark(view.sql(fields.get(view.over, ())))
        spark.sql(text).createOrReplaceTempView(_backticked(view.name))
    return [*found, *(view.name for view in made)]


@cache
def _shipped() -> dict[str, str]:
    folder = files("millrace.schemas") / "views"
    return {
        entry.name.removesuffix(".sql"): entry.read_text(encoding="utf-8")
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".sql")
    }


@cache
def _tables_named(sql: str) -> frozenset[str]:
    """By the words before them: to parse all views would be a tenth of what a query takes."""
    return frozenset(_NAMED.findall(sql))


def _list(names: Sequence[str]) -> str:
    return ", ".join(quoted(name) for name in names)


def _backticked(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
