"""A row's key as one text: what the quarantine table names it by, and what a replay finds it by."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column
from pyspark.sql import functions as F

from millrace.schemas.rule import quoted

# By itself Spark writes whole milliseconds: of two times within one, the keys would be the same.
AS_JSON = {
    "ignoreNullFields": "false",
    "timestampFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX",
    "timestampNTZFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSS",
}


def row_key(columns: Sequence[str]) -> Column:
    """The key columns as a JSON object, in this order; a null is written, not left out."""
    return F.to_json(F.struct(*map(quoted, columns)), AS_JSON)


def has_null(key: Column) -> Column:
    """Whether a `row_key` has a part that is null: no contract accepts its row."""
    parts = F.map_values(F.from_json(key, "map<string,string>"))
    return F.coalesce(F.exists(parts, lambda part: part.isNull()), F.lit(True))
