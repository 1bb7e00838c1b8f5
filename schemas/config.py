"""The job file: what one run reads, checks, scores and writes, as frozen values."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from schemas.contract import Contract, Frozen
from schemas.focus import Category
from schemas.monitor import Monitor
from schemas.observe import Observe
from schemas.tables import RESERVED, predictions_name

AUTO = "auto"
_NOT_IN_DELTA = " ,;{}()\n\t="

Path = Annotated[str, Field(min_length=1)]


class ParquetSource(Frozen):
    """A Parquet file, or a folder of them."""

    format: Literal["parquet"]
    path: Path


class DeltaSource(Frozen):
    """A Delta table; without ``version``, the latest one when the run starts."""

    format: Literal["delta"]
    path: Path
    version: int | None = Field(default=None, ge=0)


class CsvSource(Frozen):
    """Delimited text: RFC 4180 quotes, line breaks inside quotes, one header line a file."""

    format: Literal["csv"]
    path: Path
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    quote: str = Field(default='"', max_length=1, description="empty: quotes are ordinary text")
    escape: str = Field(
        default="", max_length=1, description="empty: a quote is escaped by doubling it"
    )
    encoding: str = "utf-8"
    null: str = Field(default="", description="the unquoted text that stands for NULL")
    line: str | None = None  # a declared bigint column that gets each record's line number


class JsonSource(Frozen):
    """JSON Lines: one object a line."""

    format: Literal["json"]
    path: Path
    encoding: str = "utf-8"
    line: str | None = None  # a declared bigint column that gets each record's line number


class ImagesSource(Frozen):
    """A folder of PNG and JPEG files: columns ``path`` (relative to the folder) and ``content``."""

    format: Literal["images"]
    path: Path


class IdxSource(Frozen):
    """MNIST's idx or idx.gz: columns ``index``, ``pixels`` and, with ``labels``, ``label``."""

    format: Literal["idx"]
    path: Path
    labels: str | None = None


Source = Annotated[
    ParquetSource | DeltaSource | CsvSource | JsonSource | ImagesSource | IdxSource,
    Field(discriminator="format"),
]


class ModelRef(Frozen):
    """Which model folder to load, and whether code inside it may run."""

    uri: Path
    version: str | None = None
    trust: Literal["data", "code"] = "data"  # code: the folder's files may hold it, and it may run


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
    # Outputs are kept in a table of the lake, and found by later units and runs of the same model.
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

    prices: Path
    instance: str  # a sku of the price book, or auto: what the cloud's metadata service says
    category: Category = "Standard"
    region: str | None = None  # needed where the sku is in several
    budget: Annotated[Decimal, Field(gt=0)] | None = None
    tags: dict[Annotated[str, Field(min_length=1)], str] = {}  # on each row of the bill


class Job(Frozen):
    """One job file."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
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
    observe: Observe = Observe()  # who is told beside the tables: nobody

    @model_validator(mode="after")
    def _monitor_knows_its_columns(self) -> Job:
        named = self.monitor.drift.columns if self.monitor else ()
        declared = [*self.contract.columns]
        if named != "all" and (unknown := [name for name in named if name not in declared]):
            raise ValueError(
                f"monitor.drift.columns names columns that the contract does not declare: "
                f"{', '.join(unknown)}; declared: {', '.join(declared)}"
            )
        return self

    @model_validator(mode="after")
    def _columns_fit_together(self) -> Job:
        declared = list(self.contract.columns)
        if unknown := [name for name in self.key if name not in declared]:
            raise ValueError(
                f"key names columns that the contract does not declare: {', '.join(unknown)}; "
                f"declared: {', '.join(declared)}"
            )
        if hidden := [name for name in self.key if name in self.contract.redact]:
            raise ValueError(
                f"redact names key columns: {', '.join(hidden)}; a key says which row was refused"
            )
        line = getattr(self.source, "line", None)
        if line is not None and (
            line not in declared or self.contract.columns[line].type != "bigint"
        ):
            raise ValueError(
                f"source.line names {line!r}, which the contract must declare as bigint"
            )
        if self.name == "runs":
            raise ValueError("the name runs is taken: the view runs_current is about all jobs")
        if both := sorted(set(self.key) & set(self.keep)):
            raise ValueError(
                f"columns in both key and keep: {', '.join(both)}; key columns are always kept"
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
                raise ValueError(f"{name!r}: a Delta column's name has none of {_NOT_IN_DELTA!r}")
        return self

    @property
    def table(self) -> str:
        """The name of this job's predictions table."""
        return predictions_name(self.name)
