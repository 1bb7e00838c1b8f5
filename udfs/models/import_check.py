"""Compares an imported folder with its own library: equal ids, and equal outputs in any batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from millrace.schemas.errors import MillraceError, ModelError
from millrace.schemas.model import Check, ModelCard
from millrace.udfs.models.loaded_model import LoadedModel
from millrace.udfs.models.reference_library import LibraryOutputs, longest_of, reference
from millrace.udfs.models.sample_inputs import TEXTS
from millrace.udfs.runtime.examples import Examples
from millrace.udfs.runtime.plan import Runtime

T = TypeVar("T")
BatchOutputs = list[
    tuple[NDArray[np.int64], NDArray[np.float32]]
]  # rows of a batch, and their outputs

MAX_DIFFERENCE = 1e-4  # of values up to one; of larger ones, relative to the largest
_COMPUTED_TOKENS = 2048  # longer texts are compared by their ids: to compute them may take minutes
_MORE = (
    "THE MILL STANDS BY THE RIVER",
    "École Ångström İstanbul straße STRASSE ǅ",
    "  spaces\tand\nlines  ",
)
_WORD = "Mill "


def checked(source: Path, made: Path, card: ModelCard, tokenizer: Any) -> tuple[Check, ...]:
    """Compare the ids and outputs of the folder ``made`` with the library's for ``source``.

    ``tokenizer`` is that of Transformers for ``source``. Raises ModelError if a result differs, or if
    either side cannot compute.
    """
    texts, computed = _texts(longest_of(card))
    examples, found = _tried(source, card, lambda: _given(made, card, texts, computed))
    wanted = _tried(source, card, lambda: reference(source, card, tokenizer, texts, computed))
    ids = _compared_ids(source, examples, wanted, texts)
    return ids, _compared_outputs(source, card, found, wanted)


def _given(
    made: Path, card: ModelCard, texts: list[str], computed: int
) -> tuple[Examples, BatchOutputs]:
    """What the folder reads of all texts, and what it gives for the first: alone, and in batches."""
    model = LoadedModel(made, card, Runtime("cpu"))
    ((column, _),) = card.signature.inputs.items()
    examples = model.decode(pa.record_batch({column: texts}))
    rows = examples.rows[examples.rows < computed]
    runs = [
        (rows[index], model.runner.run(model.arrays(examples.take(index))))
        for index in _batches(len(rows))
    ]
    return examples, runs


def _texts(longest: int) -> tuple[list[str], int]:
    """Texts of mixed lengths, and how many of them, the first, are computed too."""
    short = [*TEXTS, *_MORE]
    over_long = _WORD * (longest + 8)
    if longest > _COMPUTED_TOKENS:
        return [*short, over_long], len(short)
    return [*short[:2], over_long, *short[2:]], len(short) + 1


def _compared_ids(
    source: Path, examples: Examples, wanted: LibraryOutputs, texts: list[str]
) -> Check:
    found = dict(zip(map(int, examples.rows), examples.values, strict=True))
    differ = [
        text
        for row, (text, ids) in enumerate(zip(texts, wanted.ids, strict=True))
        if list(found.get(row, ())) != ids
    ]
    if differ:
        raise ModelError(
            f"{source} reads texts in a way that is not done here: its token ids differ",
            got=f"{len(differ)} of {len(texts)} texts, such as {differ[0][:60]!r}",
            allowed=f"the ids that {wanted.library} {wanted.version} makes of them",
            next="choose another model, or export it to onnx with a tokenizer.json",
        )
    return _check("token ids", wanted, len(texts), 0.0, 0.0)


def _compared_outputs(
    source: Path, card: ModelCard, found: BatchOutputs, wanted: LibraryOutputs
) -> Check:
    """Each text alone, and in batches of several lengths, against the library's, one at a time."""
    scale = max(1.0, float(np.abs(wanted.outputs).max()))
    largest = 0.0
    for rows, outputs in found:
        difference = float(np.abs(outputs - wanted.outputs[rows]).max()) / scale
        if not difference <= MAX_DIFFERENCE:  # NaN is no agreement either
            raise ModelError(
                f"{source} gives other results here than in its own library",
                got=f"a difference of {difference:.3g} in a batch of {len(rows)}",
                allowed=f"{MAX_DIFFERENCE:g} of what {wanted.library} {wanted.version} gives",
                next="choose another model, or export its network to onnx",
            )
        largest = max(largest, difference)
    what = (
        "probabilities"
        if card.postprocess.name == "classify"
        else next(iter(card.signature.outputs))
    )
    return _check(what, wanted, len(wanted.outputs), largest, MAX_DIFFERENCE)


def _batches(rows: int) -> Iterator[NDArray[np.int64]]:
    every = np.arange(rows)
    yield from every.reshape(-1, 1)
    yield every
    yield every[::-1][: rows // 2]


def _tried(source: Path, card: ModelCard, compute: Callable[[], T]) -> T:
    """What ``compute`` gives. Raises ModelError for whatever a network raises of its first texts."""
    try:
        return compute()
    except MillraceError:
        raise
    except Exception as error:
        raise ModelError(
            f"{source} cannot compute texts",
            got=f"{type(error).__name__}: {error}"[:500],
            next=_next(error, card),
        ) from error


def _next(error: Exception, card: ModelCard) -> str:
    if "padding token" in str(error):
        return "set pad_token_id in its config.json: an id that ends no text, as a rule its eos_token_id"
    longest = longest_of(card)
    return (
        f"if texts of {longest} tokens are too long for it, say --max-tokens; else choose another"
    )


def _check(what: str, wanted: LibraryOutputs, rows: int, largest: float, allowed: float) -> Check:
    return Check(
        compared=what,
        library=wanted.library,
        version=wanted.version,
        rows=rows,
        largest_difference=float(f"{largest:.3g}"),
        allowed=allowed,
    )
