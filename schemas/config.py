"""The job file as immutable values: what a run reads, checks, scores and writes."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from millrace.schemas.contract import Contract
from millrace.schemas.focus import Category
from millrace.schemas.frozen import Frozen
from millrace.schemas.monitor import Monitor
from millrace.schemas.nearest import hint
from millrace.schemas.observe import Observe
from millrace.schemas.sources import Path, Source
from millrace.schemas.tables import RESERVED, predictions_name
from millrace.schemas.yaml_errors import placed

AUTO = "auto"
_NOT_IN_DELTA = " ,;{}()\n\t="


class ModelRef(Frozen):
    """Which model folder to load, and whether code inside it may run."""

    uri: Path
    version: str | None = None
    trust: Literal["data", "code"] = "data"  # code: the folder's files may hold it, and it may run


def _undeclared(unknown: list[str], declared: list[str]) -> str:
    meant = hint(unknown[0], declared)
    return (
        f"names columns that the contract does not declare: {', '.join(unknown)}{meant}; "
        f"declared: {', '.join(declared)}"
    )


def _batch(value: Any) -> Any:
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise ValueError("allowed: auto, or a number of rows, at least 1")


class Engine(Frozen):
    """How to compute: none of it changes which rows are scored."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    backend: Literal["auto", "torch", "torch_compile", "onnxruntime", "openvino", "vllm"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = "auto"
    batch: Annotated[int | Literal["auto"], BeforeValidator(_batch)] = "auto"
    surface: Literal["arrow", "pandas"] = "arrow"
    host: Literal["auto", "on", "off"] = (
        "auto"  # one process a device owns the model; auto: on GPUs
    )
    # Rows of a unit whose inputs are identical are computed once; auto: where a sample says it pays.
    dedupe: Literal["off", "unit", "auto"] = "off"
    # table: outputs are stored in the lake and reused by later units and runs of the same model.
    cache: Literal["off", "table"] = "off"
    cache_days: int = Field(default=30, ge=1)  # older outputs are not found any more
    cache_max_rows: int = Field(default=10_000_000, ge=1)  # the oldest outputs make room

    @model_validator(mode="after")
    def _reuse_has_its_surface(self) -> Engine:
        if self.surface == "pandas" and (self.dedupe != "off" or self.cache != "off"):
            raise ValueError(
                f"dedupe {self.dedupe}, cache {self.cache} with surface pandas, which hands the model's "
                "inputs alone to the workers; allowed: surface arrow, or dedupe off and cache off"
            )
        return self


class RunSettings(Frozen):
    """How a run is cut, and when it gives up: none of it changes which rows are scored."""

    # What engine runs it: auto is spark-submit's or the environment's Spark, else the embedded engine for
    # jobs that it is known to compute as Spark does, else a Spark on this machine.
    place: Literal["auto", "embedded", "local", "connect"] = "auto"
    unit_minutes: float = Field(default=10.0, gt=0)  # of work in one commit, about
    max_failed: float = Field(
        default=0.1, ge=0, le=1
    )  # share of rows; 32 rows may fail in any case
    batch_timeout_s: float | None = Field(default=None, gt=0)  # of one call of the model
    single_writer: bool = (
        False  # nobody else writes the lake: a store without put-if-absent will do
    )


class Output(Frozen):
    """Where the tables are."""

    path: Path = "lake/"


class Cost(Frozen):
    """Which prices apply, and how much may be spent."""

    prices: Path  # a price book's path, or the name of one that Millrace ships: example, gpu
    instance: str  # a sku of the price book, or auto: what the cloud's metadata service says
    category: Category = "Standard"
    region: str | None = None  # needed where the sku is in several
    budget: Annotated[Decimal, Field(gt=0)] | None = None
    tags: dict[Annotated[str, Field(min_length=1)], str] = {}  # on each row of the bill


class Job(Frozen):
    """One job file."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
    # Where relative paths in the file start: at the file's folder, or, until the next version, at the
    # working directory as they used to.
    paths: Literal["job", "cwd"] = "job"
    source: Source
    key: tuple[str, ...] = Field(min_length=1)
    keep: tuple[
        str, ...
    ] = ()  # passed through; undeclared ones keep the type they have in the input
    contract: Contract
    model: ModelRef
    engine: Engine = Engine()
    run: RunSettings = RunSettings()
    output: Output = Output()
    cost: Cost | None = None
    monitor: Monitor | None = None  # without it, no column is measured
    observe: Observe = Observe()  # receivers of metrics and lineage; default: none

    @model_validator(mode="after")
    def _monitor_knows_its_columns(self) -> Job:
        columns = self.monitor.drift.columns if self.monitor else ()
        declared = [*self.contract.columns]
        if columns != "all" and (unknown := [name for name in columns if name not in declared]):
            raise placed(
                f"monitor.drift.columns {_undeclared(unknown, declared)}",
                *("monitor", "drift", "columns"),
            )
        return self

    @model_validator(mode="after")
    def _columns_fit_together(self) -> Job:
        declared = list(self.contract.columns)
        if unknown := [name for name in self.key if name not in declared]:
            raise placed(f"key {_undeclared(unknown, declared)}", "key")
        if hidden := [name for name in self.key if name in self.contract.redact]:
            raise placed(
                f"redact names key columns: {', '.join(hidden)}; a key says which row was quarantined",
                *("contract", "redact"),
            )
        line = getattr(self.source, "line", None)
        if line is not None and (
            line not in declared or self.contract.columns[line].type != "bigint"
        ):
            raise placed(
                f"source.line names {line!r}, which the contract must declare as bigint",
                *("source", "line"),
            )
        if self.name == "runs":
            raise placed("the name runs is taken: the view runs_current is about all jobs", "name")
        if both := sorted(set(self.key) & set(self.keep)):
            raise placed(
                f"columns in both key and keep: {', '.join(both)}; key columns are always kept",
                "keep",
            )
        return self

    @model_validator(mode="after")
    def _predictions_can_have_these_columns(self) -> Job:
        names = (*self.key, *self.keep)
        if len({name.lower() for name in names}) < len(names):
            raise ValueError(f"key and keep must differ by more than case: {', '.join(names)}")
        for name in names:
            if name.lower() in RESERVED:
                raise ValueError(f"{name}: a column that every predictions table has already")
            if set(name) & set(_NOT_IN_DELTA):
                raise ValueError(
                    f"{name!r}: a Delta column's name has none of {_NOT_IN_DELTA!r}; declare the column "
                    f"under another name, with from: {name!r}"
                )
        return self

    @model_validator(mode="after")
    def _columns_of_a_text_have_a_name_there(self) -> Job:
        line, is_by_place = getattr(self.source, "line", None), getattr(self.source, "header", True)
        for name, spec in self.contract.columns.items():
            place = ("contract", "columns", name, "from")
            if spec.origin and name == line:
                raise placed(f"from of {name!r}, which source.line numbers; leave it out", *place)
            if spec.origin and is_by_place is False:
                raise placed(
                    f"from of {name!r} with source.header false: fields are the contract's columns in "
                    "their order, and have no other name; leave it out, or list names in source.header",
                    *place,
                )
        return self

    @property
    def table(self) -> str:
        """Return the name of the job's predictions table."""
        return predictions_name(self.name)
