"""Which columns of a contract the names of folders hold, in a source as it was pinned."""

from __future__ import annotations

from millrace.pipelines.sources.snapshot import name_in
from millrace.schemas.contract import Contract
from millrace.schemas.errors import SchemaMismatch
from millrace.schemas.pinned import Pinned
from millrace.udfs.readers.folder_columns import folder_values, is_ascii_encoded

FORMATS = ("parquet", "csv", "json", "images")  # whose readers take columns from folders


def folders_of(pinned: Pinned, name: str) -> dict[str, str | None]:
    """By column, the text that the folders of one file have for it. Raises SchemaMismatch."""
    if pinned.format not in FORMATS:
        return {}
    try:
        return folder_values(name)
    except ValueError as error:
        raise SchemaMismatch(
            f"{name}: the names of its folders cannot be read as columns",
            got=str(error),
            allowed="name=value, percent-encoded UTF-8, each column once",
            next="rename the folder",
        ) from None


def named(pinned: Pinned) -> tuple[str, ...]:
    """The columns that the folders of the pinned files name: the same for all of them, when checked."""
    return tuple(folders_of(pinned, name_in(pinned, pinned.files[0].path))) if pinned.files else ()


def declared(pinned: Pinned, contract: Contract) -> tuple[str, ...]:
    """The declared columns that folders name, by their declared names."""
    there = named(pinned)
    return tuple(name for name, origin in contract.origins.items() if origin.name in there)


def undeclared(pinned: Pinned, contract: Contract) -> tuple[str, ...]:
    """The columns that folders name and the contract does not declare: they are not read."""
    origins = {origin.name for origin in contract.origins.values()}
    return tuple(name for name in named(pinned) if name not in origins)


def check_folders(pinned: Pinned, contract: Contract) -> None:
    """Raise SchemaMismatch unless all files have the same columns in their folders, in one order.

    Where no declared column is in a folder's name, folders may be called what they like.
    """
    names = [name_in(pinned, file.path) for file in pinned.files]
    found = {name: tuple(folders_of(pinned, name)) for name in names}
    origins = {origin.name for origin in contract.origins.values()}
    if not any(column in origins for columns in found.values() for column in columns):
        return
    first = names[0]
    for name, columns in found.items():
        if columns != found[first]:
            raise SchemaMismatch(
                f"{name}: its folders name other columns than those of other files",
                got=f"{'/'.join(columns) or 'none'}; {first}: {'/'.join(found[first]) or 'none'}",
                allowed="the same columns, in the same order, for every file",
                next="move the file, or narrow source.path",
            )
        if pinned.format == "parquet" and not is_ascii_encoded(name):
            raise SchemaMismatch(
                f"{name}: a folder's name has percent-encoded characters that Spark misreads",
                got="bytes beyond ASCII, which Spark decodes one by one",
                allowed="percent-encoded ASCII, and other characters as they are",
                next="rename the folder",
            )
