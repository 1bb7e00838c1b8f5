"""The predictions table of a job: keys, model outputs, error, and the cost of each batch."""

from __future__ import annotations

from millrace.schemas.contract import Contract
from millrace.schemas.model import Signature
from millrace.schemas.tables.table import Column, Table, struct_of

# In `warnings`, of a row whose text is longer than the model reads. No rule's name has a colon.
TRUNCATED = "model: text truncated"
MODEL_WARNINGS = "_warnings"  # what a worker adds to a row's `warnings`

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
    Column("startup_s", "double", "of wall_s: starting Python, until Spark called it, seconds"),
    Column("load_s", "double", "of wall_s: imports, verifying and loading the model, seconds"),
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

RUN_COLUMNS = (
    Column("run_id", "string", "the run that scored it"),
    Column("unit", "int", "unit of work within the run"),
    Column("model", "string", "name and version"),
    Column("model_digest", "string", "sha256 of the model folder"),
    Column("scored_at", "timestamp", "when the run's inference began, UTC"),
    Column(
        "warnings", "array<string>", "rules of severity warn that the row broke; and of the model"
    ),
    Column("error", struct_of(ERROR), "why the row could not be scored; null when it was"),
    Column("_meter", struct_of(METER), "cost of the batch; on the batch's first row only"),
    Column("_input", "binary", "hash of inputs whose outputs were new to engine.cache; else null"),
)
RESERVED = tuple(column.name for column in RUN_COLUMNS)


def predictions_name(job: str) -> str:
    """Return the name of a job's predictions table."""
    return "predictions_" + job.replace("-", "_")


def predictions(
    name: str, key: tuple[str, ...], keep: tuple[str, ...], contract: Contract, signature: Signature
) -> Table:
    """Return the predictions table of one job: keys, model outputs, columns of `keep`, and the meter."""

    def copies(names: tuple[str, ...], role: str, comment: str) -> list[Column]:
        specs = ((column, contract.columns[column]) for column in names)
        return [Column(column, spec.type, spec.comment or comment, role) for column, spec in specs]

    outputs = [
        Column(column, spec.type, spec.comment or "output of the model", "output")
        for column, spec in signature.outputs.items()
    ]
    keys, passthrough = copies(key, "key", "key"), copies(keep, "keep", "passed through")
    columns = (*keys, *outputs, *passthrough, *RUN_COLUMNS)
    return Table(name, "one scored row", columns, is_of_job=True)
