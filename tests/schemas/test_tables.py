from __future__ import annotations

import pyarrow as pa
import pytest

from millrace.schemas.tables import Column, Table

KEY, META = Column("id", "bigint", "key"), Column("_meta", "struct<a:int,b:int>", "not looked for")
PAIR = Column("pair", "struct<a:int,b:struct<c:int,d:array<int>>>", "three fields")


@pytest.mark.parametrize(
    ("columns", "indexed"),
    [((KEY,), 1), ((KEY, META), 1), ((KEY, PAIR), 4), ((KEY, PAIR, META, PAIR), 4), ((META,), 0)],
)
def test_statistics_are_of_fields_before_the_first_column_that_begins_with_an_underscore(
    columns: tuple[Column, ...], indexed: int
) -> None:
    table = Table("t", "a row", columns)
    assert table.indexed == indexed
    assert table.arrow_schema.names == [column.name for column in columns]
    assert pa.types.is_struct(META.field.type)
