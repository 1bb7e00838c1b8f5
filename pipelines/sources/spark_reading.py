"""What Spark is given to read files exactly: strict options, escaped paths, nullable schemas."""

from __future__ import annotations

import re
from functools import reduce
from typing import Any

import pyarrow as pa
from pyspark.sql import Column, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import StructType

from millrace.schemas.column_path import FieldPath
from millrace.schemas.pinned import Pinned
from millrace.schemas.rule import quoted

_GLOB = re.compile(r"[\\*?\[\]{}]")


def strict_reader(spark: SparkSession) -> Any:
    """A reader that fails on corrupt and missing files, independent of the session's settings."""
    return (
        spark.read.option("ignoreCorruptFiles", "false")
        .option("ignoreMissingFiles", "false")
        .option("parquet.page.verify-checksum.enabled", "true")  # where the writer left checksums
    )


def escaped_paths(pinned: Pinned) -> list[str]:
    """The pinned paths with what Spark would take for a pattern escaped."""
    return [_GLOB.sub(r"\\\g<0>", file.path) for file in pinned.files]


def nullable_schema(schema: pa.Schema) -> StructType:
    """The Spark schema, all columns nullable: what is null is for validation to judge."""
    nullable = pa.schema([field.with_nullable(True) for field in schema])
    return from_arrow_schema(nullable)


def column_at(path: FieldPath) -> Column:
    """Return the column, or the field inside of structs; null where one of them is."""
    head, *fields = path
    return reduce(lambda struct, name: struct.getField(name), fields, F.col(quoted(head)))
