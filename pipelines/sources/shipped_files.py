"""Files of conf/ that every installation has: jobs, and price books, which have names."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from millrace.schemas.errors import RunFailed, UsageError
from millrace.schemas.nearest import hint
from millrace.schemas.prices import PriceBook
from millrace.schemas.yaml_file import load


def shipped(path: str) -> Path:
    """A file of conf/, which is a part of the package. Raises RunFailed where it is not there."""
    found = Path(str(_conf() / path))
    if not found.is_file():
        raise RunFailed(f"conf/{path} is not where Millrace was installed", got=str(found.parent))
    return found


def price_book(prices: str, option: str = "cost.prices") -> PriceBook:
    """The price book at a path, or the shipped one of that name. Raises UsageError."""
    if Path(prices).is_file():
        return load(Path(prices), PriceBook)
    books = {entry.name.removesuffix(".yaml"): entry for entry in _books()}
    if prices in books:
        with resources.as_file(books[prices]) as path:  # which may be inside of a zip
            return load(path, PriceBook)
    raise UsageError(
        f"{option}: no such price book{hint(Path(prices).stem, books)}",
        got=prices,
        allowed=f"the path of a price book, or one that Millrace ships: {', '.join(sorted(books))}",
        next=f"correct {option}; conf/prices/example.yaml shows what a price book holds",
    )


def _books() -> Iterator[Traversable]:
    yield from (entry for entry in (_conf() / "prices").iterdir() if entry.name.endswith(".yaml"))


def _conf() -> Traversable:
    return resources.files("millrace") / "conf"
