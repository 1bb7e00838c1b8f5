"""The schema of every Delta table, each column with what it means and its unit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile

import pyarrow as pa

from schemas.contract import Contract
from schemas.model import Signature
from schemas.types import arrow_type

ROLE = "millrace.role"


@dataclass(frozen=True)
class Column:
    """One column: its SQL type, and a comment that ends in the unit where there is one."""

    name: str
    type: str
    comment: str
    role: str = ""  # key, output or keep, in a predictions table

    @property
    def field(self) -> pa.Field:
        """The Arrow field, comment and role in its metadata: Delta stores both with the column."""
        metadata = {"comment": self.comment} | ({ROLE: self.role} if self.role else {})
        return pa.field(self.name, arrow_type(self.type), metadata=metadata)


@dataclass(frozen=True)
class Table:
    """A table's name, what a row of it is, and its columns."""

    name: str
    row_is: str
    columns: tuple[Column, ...]

    @property
    def arrow_schema(self) -> pa.Schema:
        """The columns as Arrow fields."""
        return pa.schema([column.field for column in self.columns])

    @property
    def indexed(self) -> int:
        """Columns with statistics, fields of structs each: those before the first that begins with _.

        Queries skip files by what those hold; nobody asks for the others' bounds.
        """
        shown = takewhile(lambda field: not field.name.startswith("_"), self.arrow_schema)
        return sum(1 for _ in leaves(shown))


def leaves(fields: Iterable[pa.Field], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of each field that is no struct: a struct's own fields stand for it."""
    for one in fields:
        if pa.types.is_struct(one.type):
            yield from leaves(one.type, (*above, one.name))
        else:
            yield (*above, one.name)


def struct_of(columns: tuple[Column, ...]) -> str:
    """The SQL struct type with these columns as its fields."""
    return "struct<" + ",".join(f"{column.name}:{column.type}" for column in columns) + ">"


ERROR = (
    Column("kind", "string", "decode, predict, output or crash: the step that refused the row"),
    Column("message", "string", "what was wrong; of predict, the model's own words"),
)

METER = (
    Column("application", "string", "Spark application; task ids are unique only within it"),
    Column("stage_id", "int", "Spark stage"),
    Column("partition", "int", "Spark partition"),
    Column("attempt_number", "int", "0 for a task's first attempt"),
    Column("task_id", "bigint", "Spark's task attempt id, unique in an application"),
    Column("executor", "string", "host of the worker"),
    Column("pid", "int", "process id of the Python worker"),
    Column("device", "string", "cpu, or cuda:N"),
    Column("backend", "string", "torch, torch_compile, onnxruntime or openvino"),
    Column("precision", "string", "fp32, bf16, fp16 or int8"),
    Column("started_at", "timestamp", "when this batch's clock started, UTC"),
    Column("rows", "bigint", "rows computed in this batch: not those that took another's outputs"),
    Column("failed", "bigint", "rows of it that could not be scored"),
    Column("model_batches", "bigint", "calls of the model"),
    Column("tokens", "bigint", "tokens read, null without a tokenizer"),
    Column("tokens_computed", "bigint", "tokens read and padding beside them"),
    Column("too_large", "bigint", "least cost of a call that ran out of memory; null: none did"),
    Column("tokens_out", "bigint", "tokens generated, null for a model that generates none"),
    Column("bytes", "bigint", "Arrow bytes of the model's inputs"),
    Column("wall_s", "double", "seconds from the end of the batch before to the end of this one"),
    Column("cpu_s", "double", "CPU seconds of the worker process in that time, user + system"),
    Column("startup_s", "double", "of wall_s: starting Python and importing, seconds"),
    Column("load_s", "double", "of wall_s: verifying and loading the model, seconds"),
    Column("wait_s", "double", "of wall_s: waiting for Spark to deliver rows, seconds"),
    Column("decode_s", "double", "of wall_s: Arrow columns to tensors, seconds"),
    Column("compute_s", "double", "of wall_s: inside the model, seconds"),
    Column("convert_s", "double", "of wall_s: outputs to Arrow columns, seconds"),
    Column("emit_s", "double", "of wall_s: handing results to Spark, seconds"),
    Column("peak_rss_bytes", "bigint", "largest memory of the worker process so far, bytes"),
    Column("cpu_joules", "double", "of the processors, by RAPL: this process's share; or null"),
    Column("gpu_joules", "double", "of the GPU, by NVML: all processes together; or null"),
    Column("gpu_busy_s", "double", "seconds that a GPU computed for it; null without one"),
    Column("gpu_memory_bytes", "bigint", "largest memory held on the GPU so far, bytes; or null"),
)

REASON = (
    Column("rule", "string", "the contract's rule"),
    Column("severity", "string", "error, warn or info"),
    Column("columns", "array<string>", "columns the rule reads"),
    Column("message", "string", "what good rows satisfy"),
    Column(
        "observed",
        "string",
        "the row's values in these columns as JSON, at most 200 characters; binary as size and hash",
    ),
    Column("fingerprint", "string", "the rule's, as in validations"),
)

QUARANTINE = Table(
    "quarantine",
    "one refused row",
    (
        Column("run_id", "string", "the run that refused it"),
        Column("job", "string", "name of the job"),
        Column("key", "string", "the key columns as JSON"),
        Column(
            "payload",
            "string",
            "the row as JSON; binary in base64, cells beyond 4 MB as size and hash",
        ),
        Column("reasons", f"array<{struct_of(REASON)}>", "every rule that the row broke"),
        Column("stage", "string", "validate"),
        Column("quarantined_at", "timestamp", "UTC"),
    ),
)

VALIDATIONS = Table(
    "validations",
    "one rule in one run",
    (
        Column("run_id", "string", "the run that checked it"),
        Column("job", "string", "name of the job"),
        Column("rule", "string", "name of the rule or expectation"),
        Column("kind", "string", "row, unique, reference, freshness or expectation"),
        Column("severity", "string", "error, warn, or an expectation's critical, warning, info"),
        Column("columns", "array<string>", "columns it reads"),
        Column("definition", "string", "what good data satisfies"),
        Column("checked", "bigint", "rows"),
        Column("failed", "bigint", "rows; null where an expectation counts none"),
        Column("threshold", "double", "largest share of failed rows that passes"),
        Column("passed", "boolean", "whether the gate may open"),
        Column("observed", "string", "what an expectation observed, as JSON"),
        Column("result", "string", "an expectation's result as Great Expectations has it, as JSON"),
        Column("fingerprint", "string", "changes when the rule's meaning does"),
        Column("suite_fingerprint", "string", "over all rules of the run"),
        Column("at", "timestamp", "UTC"),
    ),
)

TAG = (
    Column("key", "string", "what is said"),
    Column("value", "string", "about the run"),
)

LEDGER = Table(
    "ledger",
    "one task attempt x one kind of cost x one meter",
    (
        Column(
            "x_RecordId", "string", "sha256 of what the row is about: writing it twice is noticed"
        ),
        Column("x_RecordType", "string", "ORIGINAL, RETRACTION or RESTATEMENT"),
        Column("x_RunId", "string", "run"),
        Column("x_Job", "string", "name of the job"),
        Column("x_RunAttempt", "int", "event of the run that its attempt began with"),
        Column("x_Unit", "int", "unit of work within the run; null where it is no one unit's"),
        Column("x_AppId", "string", "Spark application"),
        Column("x_StageId", "int", "Spark stage"),
        Column("x_StageAttempt", "int", "0 for the first"),
        Column("x_PartitionId", "int", "Spark partition"),
        Column("x_TaskAttempt", "int", "0 for the first"),
        Column("x_TaskId", "bigint", "Spark's task attempt id"),
        Column("x_ExecutorId", "string", "Spark executor"),
        Column(
            "x_CostKind",
            "string",
            "useful, model_load, startup, calibration, validation, read, write, failed, killed, "
            "speculative, recomputed, driver, idle, unattributed; "
            "saved: what rows that were not computed would have cost, in no sum",
        ),
        Column("x_Outcome", "string", "how Spark ended the task; null where no task held it"),
        Column("x_Committed", "boolean", "whether the rows it made are in the table"),
        Column("ChargePeriodStart", "timestamp", "UTC"),
        Column("ChargePeriodEnd", "timestamp", "UTC"),
        Column("SkuId", "string", "instance type"),
        Column("SkuMeter", "string", "Core, Memory or GPU"),
        Column("SkuPriceId", "string", "line of the price book"),
        Column("ConsumedQuantity", "decimal(38,12)", "in ConsumedUnit"),
        Column("ConsumedUnit", "string", "Core-Seconds, GB-Seconds or GPU-Seconds"),
        Column("ListUnitPrice", "decimal(38,12)", "BillingCurrency a ConsumedUnit"),
        Column("EffectiveCost", "decimal(38,12)", "BillingCurrency"),
        Column("BillingCurrency", "string", "ISO 4217"),
        Column("PricingCategory", "string", "Standard, Dynamic or Committed"),
        Column("x_PriceBookVersion", "string", "hash of the price book"),
        Column("x_CostBasis", "string", "estimated"),
        Column(
            "x_SlotMs",
            "bigint",
            "milliseconds that a slot was held for this row's kind; of idle cores, all together",
        ),
        Column("x_ExecutorRunTimeMs", "bigint", "Spark's run time of the task; on one of its rows"),
        Column("x_GcMs", "bigint", "of it, the JVM's garbage collection"),
        Column("x_JvmCpuNs", "bigint", "the JVM's CPU time for the task, nanoseconds"),
        Column("x_PyBootMs", "bigint", "starting the Python worker, by Spark's clock"),
        Column("x_PyInitMs", "bigint", "initializing it, by Spark's clock"),
        Column("x_PyRunMs", "bigint", "running it, by Spark's clock"),
        Column(
            "x_GpuBusyMs",
            "bigint",
            "milliseconds that a GPU computed; on useful rows; null where there is none",
        ),
        Column("x_PyCpuNs", "bigint", "the worker's own CPU time, nanoseconds; on useful rows"),
        Column("x_RowsIn", "bigint", "rows; on useful rows"),
        Column("x_RowsOut", "bigint", "rows scored; on useful rows"),
        Column("x_Tokens", "bigint", "tokens; on useful rows"),
        Column("x_Bytes", "bigint", "bytes of model inputs; on useful rows"),
        Column("x_PeakRssBytes", "bigint", "largest memory of the worker so far; on useful rows"),
        Column(
            "x_GpuMemoryBytes",
            "bigint",
            "largest memory that it held on its GPU so far, bytes; on useful rows; null without one",
        ),
        Column("x_EnergyWh", "double", "watt-hours, on one meter's row of those that share a time"),
        Column("x_EnergyWhLow", "double", "watt-hours at the lower bound of x_EnergyMethod"),
        Column("x_EnergyWhHigh", "double", "watt-hours at its upper bound"),
        Column("x_CarbonG", "double", "grams of CO2 equivalent; null without a grid's intensity"),
        Column(
            "x_EnergyMethod",
            "string",
            "counter (within 15 %), rapl (15 %), tdp (40 %) or constant (60 %)",
        ),
        Column("x_IntensitySource", "string", "who says what the grid emits; null without carbon"),
        Column("Tags", f"array<{struct_of(TAG)}>", "the job's cost.tags"),
        Column("x_Quality", "string", "measured, or what is missing"),
        Column(
            "x_Corrects", "string", "the record that this one takes back, or says again; or null"
        ),
        Column("x_Revision", "int", "1, 2 ... of the run's repricings; null on an ORIGINAL"),
    ),
)


def predictions_name(job: str) -> str:
    """The name of a job's predictions table."""
    return "predictions_" + job.replace("-", "_")


RUNS = Table(
    "runs",
    "one event in a run's life",
    (
        Column("run_id", "string", "run"),
        Column("event", "int", "0, 1, 2 ... within the run; the largest is the run's state"),
        Column("number", "int", "1, 2, 3 ... of the job's runs, in the order in which they began"),
        Column("series", "int", "0 for the fingerprint's first run; counts those asked for afresh"),
        Column("application", "string", "Spark application of this attempt"),
        Column(
            "held_since", "timestamp", "when the machines began to be held for this attempt, UTC"
        ),
        Column("books_closed_at", "timestamp", "until when its costs are in the ledger, UTC"),
        Column("price", "string", "the price that applies, as JSON; null without a price book"),
        Column("job", "string", "name of the job"),
        Column("fingerprint", "string", "sha256 of everything that decides the results"),
        Column("state", "string", "started, resumed, done, refused, stopped or failed"),
        Column("at", "timestamp", "UTC"),
        Column("pinned_input", "string", "what was read, as JSON"),
        Column(
            "replays", "string", "the run whose refused rows it takes up; null: all of its input"
        ),
        Column("model", "string", "name and version"),
        Column("model_digest", "string", "sha256 of the model folder"),
        Column("settings", "string", "engine settings as they were resolved, as JSON"),
        Column("rows_read", "bigint", "rows"),
        Column("scored", "bigint", "rows"),
        Column("quarantined", "bigint", "rows"),
        Column("failed", "bigint", "rows"),
        Column("units_done", "int", "units of work"),
        Column("units_total", "int", "units of work"),
        Column("wall_s", "double", "seconds on the driver's clock, of the last attempt"),
        Column("infer_s", "double", "of wall_s: the inference stage and its commit, seconds"),
        Column("model_load_s", "double", "seconds spent loading the model, all workers together"),
        Column("cost", "decimal(38,12)", "currency; null without a price book"),
        Column("currency", "string", "ISO 4217"),
        Column("energy_wh", "double", "watt-hours; null where what the machine draws is not known"),
        Column("energy_wh_low", "double", "watt-hours, at least"),
        Column("energy_wh_high", "double", "watt-hours, at most"),
        Column("carbon_g", "double", "grams of CO2 equivalent; null without a grid's intensity"),
        Column(
            "ledger_coverage", "double", "metered seconds / Spark's executor run time of the stage"
        ),
        Column(
            "gates", "string", "what must add up, as JSON: each gate's name, result and figures"
        ),
        Column("books_closed", "boolean", "whether rows and seconds add up; null where unknown"),
        Column(
            "forecast",
            "string",
            "what was foretold before scoring, as JSON: seconds of inference and cost of the run, each "
            "low, mid, high, and what that rests on; null where nothing told",
        ),
        Column("detail", "string", "why a run was refused or failed"),
    ),
)

CALIBRATIONS = Table(
    "calibrations",
    "one way to compute a model, as it was measured before a run",
    (
        Column("run_id", "string", "the run that measured it, or took it over from an earlier one"),
        Column("job", "string", "name of the job"),
        Column("at", "timestamp", "UTC"),
        Column("model", "string", "name and version"),
        Column("model_digest", "string", "sha256 of the model folder"),
        Column("asked", "string", "device, backend and precision that the job asks for, as JSON"),
        Column("machine", "string", "processor or card, and versions of what computes, as JSON"),
        Column("expected_rows", "bigint", "rows of the run, about"),
        Column("place", "int", "0 for fp32 in the model's own format, with which all are compared"),
        Column("backend", "string", "torch, torch_compile, onnxruntime or openvino"),
        Column("precision", "string", "fp32, bf16, fp16 or int8"),
        Column("rows_per_s", "double", "rows a second on one worker's cores; null: not measured"),
        Column("batch_cost", "bigint", "best batch: padded tokens, or rows where shapes are equal"),
        Column("load_s", "double", "converting and loading the model, seconds"),
        Column("errors", "string", "largest differences from fp32 on the sample, as JSON"),
        Column("within", "boolean", "whether they are within the model's tolerance"),
        Column("why", "string", "why it cannot be taken, or was not measured"),
        Column("folder", "string", "the model folder it read: the job's, or one converted from it"),
        Column("digest", "string", "sha256 of that folder"),
        Column("chosen", "boolean", "whether the run computes with it"),
    ),
)

UNITS = Table(
    "units",
    "one unit of work as it was planned, or as it was committed",
    (
        Column("run_id", "string", "run"),
        Column("job", "string", "name of the job"),
        Column("unit", "int", "0, 1, 2 ... within the run"),
        Column("state", "string", "planned or done"),
        Column("files", "array<string>", "names below the source, while it is planned"),
        Column("bytes", "bigint", "size of the files, bytes"),
        Column("expected_rows", "bigint", "rows, about"),
        Column("scored", "bigint", "rows; null while it is planned"),
        Column("failed", "bigint", "rows; null while it is planned"),
        Column("computed_with", "string", "model, backend, precision and device; once it is done"),
        Column(
            "too_large", "bigint", "least cost of a call that ran out of memory; null: none did"
        ),
        Column(
            "seconds",
            "double",
            "from its Spark job's start to its commit; 0: told by a later attempt",
        ),
        Column("transaction", "string", "its commit's name in the predictions table"),
        Column("application", "string", "Spark application that committed it"),
        Column("at", "timestamp", "UTC"),
    ),
)

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

REPLAYS = Table(
    "replays",
    "one key of a replay as it was planned, or as it ended",
    (
        Column("run_id", "string", "the replay"),
        Column("job", "string", "name of the job"),
        Column("replayed_run", "string", "the run whose refused rows it takes up"),
        Column("state", "string", "planned or done"),
        Column("key", "string", "the key columns as JSON; null on the line that counts strangers"),
        Column("rows_before", "bigint", "rows that the replayed run refused, or could not score"),
        Column(
            "left_out",
            "string",
            "why it is not taken up: scored (where the state is done: by another replay, meanwhile), no key, "
            "or stranger (a row of the repaired source that the run did not refuse); null: it is",
        ),
        Column("scored", "bigint", "rows that the replay scored; null while it is planned"),
        Column("failed", "bigint", "rows that it could not score; null while it is planned"),
        Column("refused", "bigint", "rows that it refused again; null while it is planned"),
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

SHARED = (
    QUARANTINE, VALIDATIONS, LEDGER, RUNS, UNITS, CALIBRATIONS, PROFILES, BASELINES, DRIFT,
    REPLAYS,
)  # fmt: skip


def predictions(
    name: str, key: tuple[str, ...], keep: tuple[str, ...], contract: Contract, signature: Signature
) -> Table:
    """The predictions table of one job: its keys, the model's outputs, what is kept, and the meter."""

    def taken(names: tuple[str, ...], role: str, comment: str) -> list[Column]:
        specs = ((column, contract.columns[column]) for column in names)
        return [Column(column, spec.type, spec.comment or comment, role) for column, spec in specs]

    outputs = [
        Column(column, spec.type, spec.comment or "output of the model", "output")
        for column, spec in signature.outputs.items()
    ]
    keys, kept = taken(key, "key", "key"), taken(keep, "keep", "passed through")
    return Table(name, "one scored row", (*keys, *outputs, *kept, *RUN_COLUMNS))


RUN_COLUMNS = (
    Column("run_id", "string", "the run that scored it"),
    Column("unit", "int", "unit of work within the run"),
    Column("model", "string", "name and version"),
    Column("model_digest", "string", "sha256 of the model folder"),
    Column("scored_at", "timestamp", "when the run's inference began, UTC"),
    Column("warnings", "array<string>", "rules of severity warn that the row broke"),
    Column("error", struct_of(ERROR), "why the row could not be scored; null when it was"),
    Column("_meter", struct_of(METER), "cost of the batch; on the batch's first row only"),
    Column("_input", "binary", "hash of inputs whose outputs were new to engine.cache; else null"),
)
RESERVED = tuple(column.name for column in RUN_COLUMNS)
