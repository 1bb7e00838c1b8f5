"""SQL over a lake in a Spark session: for what one machine cannot hold, and with the model as a function."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow as pa
from pyspark.errors import AnalysisException, ParseException
from pyspark.sql import SparkSession
from sqlglot import exp

from millrace.pipelines.inference import worker_plan
from millrace.pipelines.inference.inference_config import native
from millrace.pipelines.job.prepared_job import PreparedJob, prepare
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.query import read_only
from millrace.pipelines.query.read_only import Statement
from millrace.pipelines.query.views import for_spark, register
from millrace.pipelines.spark import machine_check, places
from millrace.pipelines.spark.error_translation import translated
from millrace.pipelines.spark.job_session import passing_session, session_for
from millrace.schemas.config import Engine
from millrace.schemas.errors import QueryError
from millrace.schemas.job_file import load_job
from millrace.schemas.rule import quoted
from millrace.udfs.worker.functions import pandas_scorer

Fetch = Callable[[int | None, int], pa.Table]  # limit, None: all rows; offset
FUNCTION = "classify"
INPUT = "input"
# They call any method of the JVM: a query that only reads has no use for them.
UNSAFE = frozenset({"reflect", "try_reflect", "java_method"})
SUBSTITUTE = "spark.sql.variable.substitute"


@contextmanager
def open_query(
    lake: LakeLocation, sql: str, job_file: tuple[Path, Sequence[str]] | None = None
) -> Iterator[Fetch]:
    """Open a session that can run the query, with the model of a job where its file is named.

    ``job_file``: the path and its overrides; the lake is then the job's own. Raises MillraceError.
    """
    read_only.read_only(sql)  # a refusal needs no JVM
    if job_file is None:
        with passing_session("sql") as spark:
            yield partial(fetch, spark, lake, sql)
        return
    job = places.in_spark(load_job(job_file[0], job_file[1]))
    with session_for(job) as spark, translated(LakeLocation.of(job).spark_log):
        with_model(spark, prepare(spark, job))
        yield partial(fetch, spark, LakeLocation.of(job), sql)


def fetch(
    spark: SparkSession, lake: LakeLocation, sql: str, limit: int | None = None, offset: int = 0
) -> pa.Table:
    """Return the rows of one read-only query over a lake, and over what `with_model` added.

    Of them ``limit``, from the one at ``offset`` on. Raises QueryError for everything that cannot be
    answered.
    """
    statement = read_only.read_only(sql)
    _refuse_unsafe(statement)
    with _as_written(spark):
        found = register(spark, lake) if lake.exists else []
        added = [INPUT] if spark.catalog.tableExists(INPUT) else []
        read_only.names(statement, [*found, *added])
        return _rows(spark, statement, limit, offset)


def with_model(spark: SparkSession, prepared: PreparedJob) -> None:
    """Make the job's model a SQL function ``classify`` of its inputs, and its input a view ``input``.

    The function returns a struct: the model's outputs and ``error``. Rows are as the source has them: no
    rule applies. No bill has what it computes.
    """
    if prepared.lake.has_table(INPUT):
        raise QueryError(f"the lake has a table {INPUT}", next="rename its folder in the lake")
    machine_check.check_surface(Engine(surface="pandas"), prepared.model.card)
    scorer = worker_plan.scorer(spark, prepared, native(prepared))
    alone = replace(scorer, plan=replace(scorer.plan, passthrough=()))
    rows, inputs = prepared.rows(spark), prepared.model.card.signature.inputs
    # The contract's types, such as a decimal for the model's double.
    given = rows.select(*map(quoted, inputs)).schema
    spark.udf.register(FUNCTION, pandas_scorer(alone, prepared.model.card, given))
    rows.createOrReplaceTempView(INPUT)


@contextmanager
def _as_written(spark: SparkSession) -> Iterator[None]:
    """While open, Spark parses SQL as it stands: ``${env:NAME}`` and settings are not filled in.

    A Connect server parses a query when a client fetches its rows, so the caller must fetch them inside.
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
