"""Sources to DataFrames: the pinned files exactly, the declared schema exactly, none inferred."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import StructType

from pipelines.pinning import name_in, pin
from pipelines.schema_check import check_schema
from schemas.config import (
    CsvSource,
    DeltaSource,
    IdxSource,
    ImagesSource,
    JsonSource,
    ParquetSource,
    Source,
)
from schemas.contract import Contract, quoted
from schemas.pinned import Pinned
from udfs.files import InputFile
from udfs.idx_file import IDX_SCHEMA, idx_shape
from udfs.records import with_malformed

__all__ = ["check_schema", "delivered", "has_malformed", "pin", "read", "reads_in_python"]

_IDX_ROWS_A_SPLIT = 1024
_MOST_IDX_SPLITS = 16  # each split of a gzipped file has to unpack all that comes before it
_GLOB = re.compile(r"[\\*?\[\]{}]")


def read(spark: SparkSession, source: Source, contract: Contract, pinned: Pinned) -> DataFrame:
    """The declared columns of the pinned input, in declared order, and ``_malformed`` for text.

    Files that are gone or broken fail the tasks that read them, never the schema or the row count
    silently. ``pinned`` may hold fewer files than the source has, to read a part of it.
    """
    if not pinned.files and source.format != "delta":
        return spark.createDataFrame([], delivered(source, contract))
    return READERS[source.format](spark, source, contract, pinned)


def delivered(source: Source, contract: Contract) -> StructType:
    """The schema of what `read` gives, without reading."""
    schema = contract.arrow_schema
    return _spark_schema(with_malformed(schema) if has_malformed(source) else schema)


def has_malformed(source: Source) -> bool:
    """Whether `read` gives the column ``_malformed``: text can hold records that do not parse."""
    return isinstance(source, CsvSource | JsonSource)


def reads_in_python(source: Source) -> bool:
    """Whether the source's files are parsed by Python workers, each file, or part of one, by one task."""
    return isinstance(source, CsvSource | JsonSource | IdxSource)


def read_parquet(
    spark: SparkSession, _source: ParquetSource, contract: Contract, pinned: Pinned
) -> DataFrame:
    """The declared columns of Parquet files."""
    reader = _strict(spark).schema(_spark_schema(contract.arrow_schema))
    return _only_declared(reader.parquet(*_paths(pinned)), contract)


def read_delta(
    spark: SparkSession, _source: DeltaSource, contract: Contract, pinned: Pinned
) -> DataFrame:
    """The declared columns of a Delta table at the pinned version."""
    reader = _strict(spark).format("delta").option("versionAsOf", str(pinned.version))
    return _only_declared(reader.load(pinned.root), contract)


def read_images(
    spark: SparkSession, _source: ImagesSource, contract: Contract, pinned: Pinned
) -> DataFrame:
    """Image files, undecoded: ``path`` relative to the pinned folder, and ``content``."""
    found = _strict(spark).format("binaryFile").load(_paths(pinned))
    plain = F.regexp_replace("path", "^file:(//)?(?=/)", "")
    first = pinned.files[0].path
    cut = len(first) - len(name_in(pinned, first))
    relative = F.substring(plain, cut + 1, 2**31 - 1)
    return _only_declared(found.select(relative.alias("path"), "content"), contract)


def read_csv_files(
    spark: SparkSession, source: CsvSource, contract: Contract, pinned: Pinned
) -> DataFrame:
    """Delimited text, one task a file: quotes can span lines, so no file can be cut."""
    files, schema = _inputs(pinned), contract.arrow_schema

    def parse(split: int) -> Iterator[pa.RecordBatch]:
        from udfs.csv_file import read_csv

        return read_csv(files[split], source, schema)

    return _in_workers(spark, len(files), parse, with_malformed(schema))


def read_json_files(
    spark: SparkSession, source: JsonSource, contract: Contract, pinned: Pinned
) -> DataFrame:
    """JSON Lines, one task a file: messages name the line, counted from the file's start."""
    files, schema = _inputs(pinned), contract.arrow_schema

    def parse(split: int) -> Iterator[pa.RecordBatch]:
        from udfs.json_file import read_json

        return read_json(files[split], source, schema)

    return _in_workers(spark, len(files), parse, with_malformed(schema))


def read_idx_file(
    spark: SparkSession, _source: IdxSource, contract: Contract, pinned: Pinned
) -> DataFrame:
    """The rows of an idx file, in ranges of about a thousand, so that several tasks share it."""
    images, *rest = _inputs(pinned)
    labels = rest[0] if rest else None
    total = idx_shape(images)[0]
    splits = max(1, min(_MOST_IDX_SPLITS, total // _IDX_ROWS_A_SPLIT))
    size = -(-total // splits)

    def parse(split: int) -> Iterator[pa.RecordBatch]:
        from udfs.idx_file import read_idx

        return read_idx(images, labels, split * size, size)

    return _only_declared(_in_workers(spark, splits, parse, IDX_SCHEMA), contract)


READERS: dict[str, Callable[..., DataFrame]] = {
    "parquet": read_parquet,
    "delta": read_delta,
    "csv": read_csv_files,
    "json": read_json_files,
    "images": read_images,
    "idx": read_idx_file,
}


def _spark_schema(schema: pa.Schema) -> StructType:
    """The Spark schema, all columns nullable: what is null is for validation to judge."""
    nullable = pa.schema([field.with_nullable(True) for field in schema])
    return from_arrow_schema(nullable)


def _strict(spark: SparkSession) -> Any:
    """A reader that fails on corrupt and missing files, whatever the session's settings are."""
    return (
        spark.read.option("ignoreCorruptFiles", "false")
        .option("ignoreMissingFiles", "false")
        .option("parquet.page.verify-checksum.enabled", "true")  # where the writer left checksums
    )


def _paths(pinned: Pinned) -> list[str]:
    """The pinned paths with what Spark would take for a pattern escaped."""
    return [_GLOB.sub(r"\\\g<0>", file.path) for file in pinned.files]


def _only_declared(frame: DataFrame, contract: Contract) -> DataFrame:
    return frame.select(*[quoted(name) for name in contract.columns])


def _inputs(pinned: Pinned) -> list[InputFile]:
    return [InputFile(f.path, name_in(pinned, f.path), f.size_bytes) for f in pinned.files]


def _in_workers(
    spark: SparkSession,
    splits: int,
    parse: Callable[[int], Iterator[pa.RecordBatch]],
    schema: pa.Schema,
) -> DataFrame:
    """A DataFrame of what ``parse`` yields for 0 to ``splits - 1``, one task each."""

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from udfs.process import mark_used

        mark_used()  # should this worker score later, its start was not for that
        for batch in batches:
            for split in batch.column(0).to_pylist():
                yield from parse(split)

    return spark.range(0, splits, 1, splits).mapInArrow(run, _spark_schema(schema))
