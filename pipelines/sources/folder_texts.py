"""The columns that folders name, for rows that have the path of their file: pictures."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from urllib.parse import unquote

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from millrace.pipelines.sources import partition_columns
from millrace.pipelines.sources.snapshot import name_in
from millrace.schemas.contract import Contract
from millrace.schemas.pinned import Pinned
from millrace.udfs.readers.folder_columns import NULL


def with_folder_columns(
    rows: DataFrame, path: str, contract: Contract, pinned: Pinned
) -> DataFrame:
    """The rows with the declared columns that the folders in ``path`` name, cast to their types.

    ``path`` is a column: names of files, relative to the source's folder.
    """
    in_folders = partition_columns.declared(pinned, contract)
    if not in_folders:
        return rows
    parts = _parts(name_in(pinned, file.path) for file in pinned.files)
    made = {
        contract.origins[name].name: _text(F.col(path), contract.origins[name].name, parts).cast(
            contract.columns[name].type
        )
        for name in in_folders
    }
    return rows.withColumns(made)


def _parts(names: Iterable[str]) -> set[str]:
    """The folders of all files whose names hold a column's value."""
    inside = {folder for name in names for folder in [name.rpartition("/")[0]]}
    return {part for folder in inside for part in folder.split("/") if part.find("=") > 0}


def _text(path: Column, column: str, parts: set[str]) -> Column:
    """The text that a file's folders have for a column; null for Hive's mark."""
    raw = [part.partition("=")[::2] for part in parts]
    own = [(name, text) for name, text in raw if unquote(name) == column]
    spellings = "|".join(_quoted(name) for name in sorted({name for name, _ in own}))
    found = F.regexp_extract(path, rf"(?:^|/)(?:{spellings})=([^/]*)/", 1)
    # Python decodes: Spark's own function refuses a percent sign that encodes nothing.
    encoded = {text: unquote(text) for _, text in own if "%" in text}
    if encoded:
        known = F.create_map(*map(F.lit, chain.from_iterable(sorted(encoded.items()))))
        found = F.coalesce(known[found], found)
    return F.when(found != NULL, found)


def _quoted(text: str) -> str:
    """The text as a regular expression of Java's that matches nothing else."""
    return r"\Q" + text.replace(r"\E", r"\E\\E\Q") + r"\E"
