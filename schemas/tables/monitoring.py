"""Tables of monitoring: column profiles, baselines, and drift."""

from __future__ import annotations

from millrace.schemas.tables.table import Column, Table

PROFILES = Table(
    "profiles",
    "one measure of one column, of a run's input or of a unit's outputs",
    (
        Column("run_id", "string", "run"),
        Column("job", "string", "name of the job"),
        Column("side", "string", "input or output"),
        Column("unit", "int", "unit of work within the run; null of the input"),
        Column("column", "string", "column of the contract, or output of the model"),
        Column("measure", "string", "value, length, mean (of an array's elements) or category"),
        Column("rows", "bigint", "rows"),
        Column("nulls", "bigint", "rows without a value; of outputs, those that failed"),
        Column(
            "not_finite", "bigint", "rows with NaN or infinity; of an array's mean, sampled ones"
        ),
        Column("least", "double", "in the column's unit; null of categories; of a mean, sampled"),
        Column("largest", "double", "in the column's unit; null of categories; of a mean, sampled"),
        Column("mean", "double", "in the column's unit; null of categories; of a mean, sampled"),
        Column("sampled", "bigint", "values that the sketch was made of; rows"),
        Column("sketch", "string", "counts by cell or category, as JSON (pipelines/sketches.py)"),
        Column("at", "timestamp", "UTC"),
    ),
)

BASELINES = Table(
    "baselines",
    "one time that a job's baseline was set",
    (
        Column("job", "string", "name of the job"),
        Column("number", "int", "1, 2, 3 ... of the job's baselines; the largest applies"),
        Column("run_id", "string", "the run that later ones are compared with"),
        Column("at", "timestamp", "UTC"),
    ),
)

DRIFT = Table(
    "drift",
    "one measure of one column, compared with the baseline's",
    (
        Column("run_id", "string", "run"),
        Column("job", "string", "name of the job"),
        Column("event", "int", "event of the run that its attempt began with; the largest counts"),
        Column("baseline", "string", "the run that it was compared with"),
        Column("side", "string", "input or output"),
        Column("unit", "int", "unit of work within the run; null: the input, or all units"),
        Column("column", "string", "column of the contract, or output of the model"),
        Column("measure", "string", "value, length, mean, category or missing"),
        Column("before", "bigint", "values of the baseline that were compared; rows"),
        Column("now", "bigint", "values of the run that were compared; rows"),
        Column("psi", "double", "population stability index, natural units; null: not compared"),
        Column("ks", "double", "largest difference of cumulative shares, 0 to 1; null: no order"),
        Column("js", "double", "Jensen-Shannon distance, root of bits, 0 to 1"),
        Column("missing", "double", "share without a value, less the baseline's; -1 to 1"),
        Column("limits", "string", "what each may be at most, as JSON: limit, or chance if larger"),
        Column("drifted", "boolean", "whether one of them is more"),
        Column("why", "string", "what is more, or why nothing was compared; else null"),
        Column("at", "timestamp", "UTC"),
    ),
)
