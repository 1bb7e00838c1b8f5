"""SQL over a lake in a Spark session: for what one machine cannot hold, and with the model as a function."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow as pa
from pyspark.errors import AnalysisException, ParseException
from pyspark.sql import SparkSession
from sqlglot import exp

from pipelines import query, workers
from pipelines.answer import Ask
from pipelines.calibrate import native
from pipelines.command_session import passing_session, session_for, spark_log
from pipelines.faults import translated
from pipelines.query import Statement
from pipelines.views import for_spark, register
from pipelines.work import Work, prepare
from schemas.config import Job
from schemas.errors import QueryError
from schemas.yaml_file import load
from udfs.spark import pandas_scorer

FUNCTION = "classify"
INPUT = "input"
# They call any method of the JVM: a query that only reads has no use for them.
UNSAFE = frozenset({"reflect", "try_reflect", "java_method"})
SUBSTITUTE = "spark.sql.variable.substitute"


@contextmanager
def asking(
    lake: Path, sql: str, job_file: tuple[Path, Sequence[str]] | None = None
) -> Iterator[Ask]:
    """A session in which the query can be asked, with the model of a job where its file is named.

    The file comes with what overrides its keys; the lake is then the job's own. Raises MillraceError.
    """
    query.read_only(sql)  # what is refused needs no JVM
    if job_file is None:
        with passing_session("sql") as spark:
            yield partial(ask, spark, lake, sql)
        return
    job = load(job_file[0], Job, overrides=job_file[1])
    with session_for(job) as spark, translated(spark_log(job)):
        with_model(spark, prepare(spark, job))
        yield partial(ask, spark, Path(job.output.path).absolute(), sql)


def ask(
    spark: SparkSession, lake: Path, sql: str, limit: int | None = None, offset: int = 0
) -> pa.Table:
    """Return the rows of one read-only query over a lake, and over what `with_model` added.

    Of them ``limit``, from the one at ``offset`` on. Raises QueryError for everything that cannot be
    answered.
    """
    statement = query.read_only(sql)
    _refuse_unsafe(statement)
    with _as_written(spark):
        found = register(spark, lake) if lake.is_dir() else []
        added = [INPUT] if spark.catalog.tableExists(INPUT) else []
        query.names(statement, [*found, *added])
        return _rows(spark, statement, limit, offset)


def with_model(spark: SparkSession, work: Work) -> None:
    """Make the job's model a SQL function ``classify`` of its inputs, and its input a view ``input``.

    The function gives a struct: the model's outputs and ``error``. Rows are as the source has them: no
    rule is asked. What it computes is on no bill.
    """
    if (work.lake / INPUT / "_delta_log").is_dir():
        raise QueryError(f"the lake has a table {INPUT}", next="rename its folder in the lake")
    scorer = workers.scorer(spark, work, native(work))
    alone = replace(scorer, plan=replace(scorer.plan, passthrough=()))
    spark.udf.register(FUNCTION, pandas_scorer(alone, work.model.card))
    work.rows(spark).createOrReplaceTempView(INPUT)


@contextmanager
def _as_written(spark: SparkSession) -> Iterator[None]:
    """While open, Spark parses SQL as it stands: ``${env:NAME}`` and settings are not filled in.

    A Connect server parses a query when its rows are asked for, so that they are to be taken inside.
    """
    before = spark.conf.get(SUBSTITUTE, "true") or "true"
    spark.conf.set(SUBSTITUTE, "false")
    try:
        yield
    finally:
        spark.conf.set(SUBSTITUTE, before)


def _rows(spark: SparkSession, statement: Statement, limit: int | None, offset: int) -> pa.Table:
    try:
        rows = spark.sql(f"{statement.explain} {for_spark(statement.text)}".strip()).offset(offset)
        return (rows if limit is None else rows.limit(limit)).toArrow()
    except (AnalysisException, ParseException) as error:
        raise QueryError(f"the query cannot be answered: {_first_line(error)}") from None


def _refuse_unsafe(statement: Statement) -> None:
    called = {str(one.name).lower() for one in statement.tree.find_all(exp.Anonymous)}
    if unsafe := sorted(called & UNSAFE):
        raise QueryError(
            "a query that only reads calls no method of the JVM", got=", ".join(unsafe)
        )


def _first_line(error: AnalysisException) -> str:
    return str(error).strip().splitlines()[0]
