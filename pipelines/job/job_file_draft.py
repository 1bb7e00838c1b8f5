"""A job file for a source and a model: a suggested contract, the model, optional sections as comments."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from millrace.pipelines.job import preflight
from millrace.pipelines.validation.contract_file import job_name, path_from, scalar, sections
from millrace.pipelines.validation.contract_suggestion import Declarations, Suggestion
from millrace.schemas.errors import UsageError
from millrace.schemas.fits import why_not
from millrace.schemas.job_file import load_job
from millrace.schemas.model import ModelCard

FILE = "job.yaml"
_HEAD = (
    "# A job file of Millrace, written by millrace init. docs/REFERENCE.md lists every key.\n#\n"
)
_OPTIONAL = """\
# Optional sections; remove the # to use one.
#
# keep: [COLUMN]                  # columns of the input that predictions carry beside the key
# engine: {batch: 32}             # also device, backend, precision, dedupe, cache; default: measured
# run: {unit_minutes: 10}         # work in one commit; an interrupted run resumes after the last one
# cost: {prices: example, instance: laptop, budget: 5}  # a price book, a machine in it, a limit
# monitor: {}                     # profiles of columns, compared with a baseline run
"""


@dataclass(frozen=True)
class JobDraft:
    """A job file that was written, and the source that its contract was inferred from."""

    path: Path
    job: str
    format: str
    key: tuple[str, ...]
    columns: int
    rules: int
    rows: int
    sampled: int

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return vars(self) | {"path": str(self.path), "key": list(self.key)}


def refuse_existing(folder: Path) -> None:
    """Raise UsageError where the folder has a job file already."""
    if (path := folder / FILE).exists():
        raise UsageError(
            "the job file exists already", got=str(path), next="name another folder with --out"
        )


def declarations(card: ModelCard, columns: Mapping[str, str], format_: str) -> Declarations:
    """Return the names and types that a contract needs for a model.

    ``columns``: by input of the model, the column of the source. A folder of pictures has one column of
    data, which an only input of another name reads. Raises UsageError for an input that the model lacks.
    """
    inputs, step = card.signature.inputs, card.preprocess.name
    if unknown := sorted(set(columns) - set(inputs)):
        raise UsageError(
            f"model {card.title} has no such input",
            got=", ".join(unknown),
            allowed=", ".join(inputs),
            next="--column INPUT=COLUMN",
        )
    if format_ == "images" and not columns and len(inputs) == 1:
        columns = {name: "content" for name in inputs if name not in ("path", "content")}

    def type_of(name: str, inferred: str) -> str:
        wanted = inputs.get(name)
        fits = wanted is None or why_not(inferred, wanted.type, step) is None
        return inferred if wanted is None or fits else wanted.type

    return Declarations({origin: name for name, origin in columns.items()}, type_of)


def key_of(found: Suggestion, key: Sequence[str], card: ModelCard) -> list[str]:
    """Return the job's key: the given columns, or the suggested one. Raises UsageError without one.

    Also raises UsageError where the source lacks an input of the model.
    """
    names = [column.name for column in found.columns]
    _check_inputs(found, card, names)
    if unknown := [name for name in key if name not in names]:
        raise UsageError(
            "the key names columns that the source does not have",
            got=", ".join(unknown),
            allowed=", ".join(names),
            next="--key COLUMN",
        )
    if key:
        return list(key)
    if found.key is None:
        raise UsageError(
            "no column identifies a row: each has nulls or repeats",
            allowed=", ".join(names),
            next="name the columns that identify a row together: --key COLUMN --key COLUMN",
        )
    return [found.key]


def write(
    found: Suggestion, key: Sequence[str], model: Path, folder: Path, name: str | None, trust: str
) -> JobDraft:
    """Write the job file, once `preflight` accepts it. Raises UsageError, SchemaMismatch.

    ``trust``: ``code`` for a model that may hold code, else ``data``.
    """
    refuse_existing(folder)
    name = name or job_name(found.source.path)
    text = _text(found, key, model, folder, name, trust)
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".{FILE}-{secrets.token_hex(4)}"
    try:
        draft.write_text(text, "utf-8")
        preflight.checked(load_job(draft), datetime.now(UTC))
        with (folder / FILE).open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        refuse_existing(folder)
        raise
    finally:
        draft.unlink(missing_ok=True)
        if is_new and not any(folder.iterdir()):
            folder.rmdir()
    rules = sum(len(column.rules) for column in found.columns)
    return JobDraft(
        folder / FILE, name, found.source.format, tuple(key), len(found.columns), rules, found.rows,
        found.sampled,
    )  # fmt: skip


def _text(
    found: Suggestion, key: Sequence[str], model: Path, folder: Path, name: str, trust: str
) -> str:
    parts = {"uri": scalar(path_from(folder, str(model)))}
    parts |= {"trust": trust} if trust == "code" else {}
    about = ", ".join(f"{setting}: {value}" for setting, value in parts.items())
    return (
        f"{_HEAD}{sections(found, folder, name, key)}\n"
        f"model: {{{about}}}  # a folder with a model.yaml\n\n"
        "output: {path: lake}  # the folder of predictions, quarantined rows and the ledger\n\n"
        f"{_OPTIONAL}"
    )


def _check_inputs(found: Suggestion, card: ModelCard, names: Sequence[str]) -> None:
    """Raise UsageError where the model reads a column that the source does not have."""
    missing = [name for name in card.signature.inputs if name not in names]
    if not missing:
        return
    types = {column.name: column.type for column in found.columns}
    wanted, step = card.signature.inputs[missing[0]].type, card.preprocess.name
    fitting = [name for name in names if why_not(types[name], wanted, step) is None]
    raise UsageError(
        f"the source has no column {', '.join(missing)}, which model {card.title} reads",
        got=", ".join(f"{name} ({types[name]})" for name in names),
        next=f"name the column: --column {missing[0]}={fitting[0] if fitting else 'COLUMN'}",
    )
