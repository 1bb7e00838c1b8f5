"""The inference pass: accepted rows of the pinned input, scored and ready to be committed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from millrace.pipelines.inference.output_cache import INPUT
from millrace.pipelines.job.model_check import VerifiedModel
from millrace.pipelines.lake import delta
from millrace.pipelines.spark import cluster
from millrace.pipelines.validation import contract_check
from millrace.schemas.config import Job
from millrace.schemas.contract import Contract
from millrace.schemas.rule import Rule, quoted
from millrace.schemas.tables import MODEL_WARNINGS, Table
from millrace.schemas.types import arrow_type
from millrace.udfs.engine.task_scoring import output_schema
from millrace.udfs.runtime.plan import Plan, Scorer
from millrace.udfs.worker.functions import arrow_scorer, pandas_scorer

WARNINGS = "warnings"


def accepted(marked: DataFrame, rules: Sequence[Rule], job: Job, model: VerifiedModel) -> DataFrame:
    """The rows that no rule of severity error refuses: keys, kept columns, the model's inputs, warnings."""
    wanted = dict.fromkeys([*job.key, *job.keep, *model.card.signature.inputs])
    warnings = contract_check.warnings(rules, marked.columns)
    return marked.where(~contract_check.refused(rules, marked.columns)).select(
        *map(quoted, wanted), warnings.alias(WARNINGS)
    )


def scored(
    accepted: DataFrame, job: Job, contract: Contract, model: VerifiedModel, scorer: Scorer
) -> DataFrame:
    """`accepted` rows with what the engine adds to them; nothing shuffles them after."""
    passthrough = pa.schema(
        [(name, arrow_type(contract.columns[name].type)) for name in (*job.key, *job.keep)]
        + [(WARNINGS, pa.list_(pa.string()))]
        + [(INPUT, pa.binary())] * (INPUT in scorer.plan.passthrough)
    )
    schema = output_schema(passthrough, model.card.signature)
    return SURFACES[job.engine.surface](accepted, schema, model, scorer)


def hides_values(job: Job, model: VerifiedModel) -> bool:
    """Whether to hide the text of a model's error: the contract redacts a column that the model reads."""
    return bool(set(job.contract.redact) & set(model.card.signature.inputs))


def plan_of(job: Job, model: VerifiedModel, batch_rows: int | None) -> Plan:
    """What the engine reads and hands through for this job."""
    return Plan(
        inputs=tuple(model.card.signature.inputs),
        passthrough=(*job.key, *job.keep, WARNINGS),
        batch_rows=batch_rows,
        hides_values=hides_values(job, model),
    )


def with_run(
    rows: DataFrame, table: Table, run_id: str, unit: int, model: VerifiedModel, at: datetime
) -> DataFrame:
    """``rows`` with the columns that say which run and model made them, in the table's order."""
    constants: dict[str, Column] = {
        "run_id": F.lit(run_id),
        "unit": F.lit(unit),
        "model": F.lit(model.card.title),
        "model_digest": F.lit(model.digest),
        "scored_at": F.lit(at),
    }
    none = F.array().cast("array<string>")
    constants[WARNINGS] = F.concat(F.col(WARNINGS), F.coalesce(F.col(MODEL_WARNINGS), none))
    if INPUT not in rows.columns:
        constants[INPUT] = F.lit(None).cast("binary")
    return rows.select(
        [
            constants[c.name].alias(c.name) if c.name in constants else F.col(quoted(c.name))
            for c in table.columns
        ]
    )


def _by_arrow(
    rows: DataFrame, schema: pa.Schema, _model: VerifiedModel, scorer: Scorer
) -> DataFrame:
    return cluster.map_rows(rows, arrow_scorer(scorer, rows.columns), delta.spark_schema(schema))


def _by_pandas(
    rows: DataFrame, schema: pa.Schema, model: VerifiedModel, scorer: Scorer
) -> DataFrame:
    # Spark carries the other columns past a UDF itself: the model's inputs are all that it reads.
    inputs = [F.col(quoted(name)) for name in model.card.signature.inputs]
    alone = replace(scorer, plan=replace(scorer.plan, passthrough=()))
    classify = pandas_scorer(alone, model.card, rows.select(*inputs).schema)
    passed_columns = [quoted(name) for name in scorer.plan.passthrough]
    made = rows.select(*passed_columns, classify(*inputs).alias("_scored"))
    fields = [
        F.col("_scored")[name].alias(name)
        for name in schema.names
        if name not in scorer.plan.passthrough
    ]
    return made.select(*passed_columns, *fields)


SURFACES: dict[str, Callable[[DataFrame, pa.Schema, VerifiedModel, Scorer], DataFrame]] = {
    "arrow": _by_arrow,
    "pandas": _by_pandas,
}
