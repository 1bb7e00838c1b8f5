"""Sources to DataFrames: the pinned files exactly, the declared schema exactly, none inferred."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from millrace.pipelines.sources import partition_columns
from millrace.pipelines.sources.column_listing import IMAGES_SCHEMA
from millrace.pipelines.sources.folder_texts import with_folder_columns
from millrace.pipelines.sources.parquet_reader import read_parquet
from millrace.pipelines.sources.snapshot import input_files, name_in
from millrace.pipelines.sources.spark_reading import (
    column_at,
    escaped_paths,
    nullable_schema,
    strict_reader,
)
from millrace.pipelines.spark import cluster
from millrace.schemas.contract import Contract
from millrace.schemas.pinned import Pinned
from millrace.schemas.rule import MALFORMED, quoted
from millrace.schemas.sources import (
    CsvSource,
    DeltaSource,
    IdxSource,
    ImagesSource,
    JsonSource,
    Source,
)
from millrace.udfs.readers.idx_reader import IDX_SCHEMA, idx_shape
from millrace.udfs.readers.records import with_malformed

_IDX_ROWS_A_SPLIT = 1024
_MOST_IDX_SPLITS = 16  # each split of a gzipped file has to unpack all that comes before it


@dataclass(frozen=True)
class ReadOptions:
    """What Python workers do besides reading the declared columns."""

    counts: Path | None = None  # the folder that they write to how many rows they have read
    keeps: tuple[
        str, ...
    ] = ()  # columns of which a record that did not parse has its values, if it can


AS_DECLARED = ReadOptions()


def read(
    spark: SparkSession,
    source: Source,
    contract: Contract,
    pinned: Pinned,
    how: ReadOptions = AS_DECLARED,
) -> DataFrame:
    """The declared columns of the pinned input, in declared order, and ``_malformed`` for text.

    Files that are gone or broken fail the tasks that read them, never the schema or the row count
    silently. ``pinned`` may hold fewer files than the source has, to read a part of it. ``how`` is for the
    Python workers that read text and idx files.
    """
    if not pinned.files and source.format != "delta":
        return spark.createDataFrame([], delivered(source, contract))
    more = (how,) if reads_in_python(source) else ()
    return READERS[source.format](spark, source, contract, pinned, *more)


def delivered(source: Source, contract: Contract) -> StructType:
    """The schema of what `read` gives, without reading."""
    schema = contract.arrow_schema
    return nullable_schema(with_malformed(schema) if has_malformed(source) else schema)


def has_malformed(source: Source) -> bool:
    """Whether `read` gives the column ``_malformed``: text may not parse, and a picture may be empty."""
    return isinstance(source, CsvSource | JsonSource | ImagesSource)


def reads_in_python(source: Source) -> bool:
    """Whether the source's files are parsed by Python workers, each file, or part of one, by one task."""
    return isinstance(source, CsvSource | JsonSource | IdxSource)


def read_delta(
    spark: SparkSession, _source: DeltaSource, contract: Contract, pinned: Pinned
) -> DataFrame:
    """The declared columns of a Delta table at the pinned version."""
    reader = strict_reader(spark).format("delta").option("versionAsOf", str(pinned.version))
    return _only_declared(reader.load(pinned.root), contract)


def read_images(
    spark: SparkSession, _source: ImagesSource, contract: Contract, pinned: Pinned
) -> DataFrame:
    """Image files, undecoded: ``path`` relative to the pinned folder, ``content`` and ``_malformed``.

    Spark's reader leaves files of 0 bytes out: they are rows that did not parse.
    """
    full = replace(pinned, files=tuple(file for file in pinned.files if file.size_bytes))
    empty = [name_in(pinned, file.path) for file in pinned.files if not file.size_bytes]
    frames = [_full_images(spark, full)] if full.files else []
    if empty:
        rows = [(name, b"", f"{name}: 0 bytes") for name in empty]
        schema = nullable_schema(with_malformed(IMAGES_SCHEMA))
        frames.append(spark.createDataFrame(rows, schema))
    every: DataFrame = reduce(lambda one, other: one.unionAll(other), frames)
    every = with_folder_columns(every, "path", contract, pinned)
    return _only_declared(every, contract, MALFORMED)


def _full_images(spark: SparkSession, pinned: Pinned) -> DataFrame:
    found: DataFrame = strict_reader(spark).format("binaryFile").load(escaped_paths(pinned))
    plain = F.regexp_replace("path", "^file:(//)?(?=/)", "")
    first = pinned.files[0].path
    cut = len(first) - len(name_in(pinned, first))
    relative = F.substring(plain, cut + 1, 2**31 - 1)
    malformed = F.lit(None).cast("string")
    return found.select(relative.alias("path"), "content", malformed.alias(MALFORMED))


def read_text_files(
    spark: SparkSession,
    source: CsvSource | JsonSource,
    contract: Contract,
    pinned: Pinned,
    how: ReadOptions = AS_DECLARED,
) -> DataFrame:
    """Delimited text or JSON Lines, one task a file.

    Quotes can span lines, so no delimited file can be cut; messages of JSON name the line, counted from
    the file's start.
    """
    files, schema, origins = input_files(pinned), contract.arrow_schema, contract.origins
    own = _in_files(pinned, contract)

    def parse(split: int) -> Iterator[pa.RecordBatch]:
        from millrace.udfs.readers.csv_reader import read_csv
        from millrace.udfs.readers.folder_columns import with_folders
        from millrace.udfs.readers.json_reader import read_json

        file = files[split]
        if isinstance(source, CsvSource):
            batches = read_csv(file, source, own, origins, keeps=how.keeps)
        else:
            batches = read_json(file, source, own, origins, keeps=how.keeps)
        return (with_folders(batch, file.name, schema, origins) for batch in batches)

    return _in_workers(spark, len(files), parse, with_malformed(schema), how.counts)


def read_idx_file(
    spark: SparkSession,
    _source: IdxSource,
    contract: Contract,
    pinned: Pinned,
    how: ReadOptions = AS_DECLARED,
) -> DataFrame:
    """The rows of an idx file, in ranges of about a thousand, so that several tasks share it."""
    images, *rest = input_files(pinned)
    labels = rest[0] if rest else None
    total = idx_shape(images)[0]
    splits = max(1, min(_MOST_IDX_SPLITS, total // _IDX_ROWS_A_SPLIT))
    size = -(-total // splits)

    def parse(split: int) -> Iterator[pa.RecordBatch]:
        from millrace.udfs.readers.idx_reader import read_idx

        return read_idx(images, labels, split * size, size)

    return _only_declared(_in_workers(spark, splits, parse, IDX_SCHEMA, how.counts), contract)


READERS: dict[str, Callable[..., DataFrame]] = {
    "parquet": read_parquet,
    "delta": read_delta,
    "csv": read_text_files,
    "json": read_text_files,
    "images": read_images,
    "idx": read_idx_file,
}


def _only_declared(frame: DataFrame, contract: Contract, *more: str) -> DataFrame:
    """The declared columns by their declared names, and ``more`` columns as they are."""
    tree = _tree(frame.schema)
    columns = [
        column_at(origin.resolve(tree) or (origin.name,)).alias(name)
        for name, origin in contract.origins.items()
    ]
    return frame.select(*columns, *map(quoted, more))


def _tree(struct: StructType) -> Mapping[str, Any]:
    """The fields by name; of a field that is a struct, its own."""
    kinds = {field.name: field.dataType for field in struct}
    return {name: _tree(k) if isinstance(k, StructType) else None for name, k in kinds.items()}


def _in_files(pinned: Pinned, contract: Contract) -> pa.Schema:
    """The declared columns without those that folders name."""
    in_folders = partition_columns.declared(pinned, contract)
    return pa.schema([field for field in contract.arrow_schema if field.name not in in_folders])


def _in_workers(
    spark: SparkSession,
    splits: int,
    parse: Callable[[int], Iterator[pa.RecordBatch]],
    schema: pa.Schema,
    counts: Path | None,
) -> DataFrame:
    """A DataFrame of what ``parse`` yields for 0 to ``splits - 1``, one task each."""

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from millrace.udfs.runtime.process import mark_used
        from millrace.udfs.worker.functions import counting_rows_read

        mark_used()  # should this worker score later, its start was not for that
        numbers = (split for batch in batches for split in batch.column(0).to_pylist())
        return counting_rows_read(chain.from_iterable(map(parse, numbers)), counts)

    numbers = spark.range(0, splits, 1, splits)
    return numbers.mapInArrow(cluster.in_tasks(spark, run), nullable_schema(schema))
