"""The calls before there is a job: a suggested contract, and a job file for a source and a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pyspark.sql import SparkSession

from millrace.pipelines.api.progress_events import OnProgress, progress_of
from millrace.pipelines.api.sessions import lakeless_session

if TYPE_CHECKING:
    from millrace.pipelines.job.job_file_draft import JobDraft
    from millrace.pipelines.validation.contract_suggestion import Suggestion


def suggest(
    source: str | Path,
    *,
    format: str | None = None,  # noqa: A002 - the key of a job's source
    sample_rows: int | None = None,
    settings: Mapping[str, Any] | None = None,
    spark: SparkSession | None = None,
    on_progress: OnProgress | None = None,
) -> Suggestion:
    """Suggest a contract that all rows of a source keep.

    Args:
        source: a file, a folder or a Delta table.
        format: its format; None: by the names of its files.
        sample_rows: rows to profile, about; None: 100,000.
        settings: settings of the source, such as ``{"delimiter": ";"}``; they replace detected ones.
        spark, on_progress: as of `run`.

    Raises:
        UsageError: the source cannot be read, or has no row.
    """
    with lakeless_session("suggest", spark) as used:
        from millrace.pipelines.validation import contract_suggestion

        rows = sample_rows or contract_suggestion.SAMPLE_ROWS
        progress = progress_of(on_progress)
        return contract_suggestion.suggest(used, str(source), format, rows, progress, settings)


def init(  # noqa: PLR0913 - each has a default
    source: str | Path,
    model: str | Path,
    *,
    out: str | Path = ".",
    name: str | None = None,
    key: Sequence[str] = (),
    columns: Mapping[str, str] | None = None,
    trust: Literal["data", "code"] = "data",
    format: str | None = None,  # noqa: A002 - the key of a job's source
    settings: Mapping[str, Any] | None = None,
    spark: SparkSession | None = None,
    on_progress: OnProgress | None = None,
) -> JobDraft:
    """Write a commented job file for a source and a model, and return its path and facts.

    The job passes `preflight`, and all rows of the source keep its contract.

    Args:
        source: a file, a folder or a Delta table.
        model: a model folder.
        out: the folder of the job file, which gets ``job.yaml``.
        name: the job's name; None: after the source.
        key: the columns that identify a row; empty: one that the source's values suggest.
        columns: by input of the model, the column of the source, where the names differ.
        trust: ``code`` for a model that may hold code.
        format, settings, spark, on_progress: as of `suggest`.

    Raises:
        UsageError: the file exists, the source cannot be read, has no key, or lacks an input of the model.
        ModelError: the folder is no model, or does not fit the source.
    """
    from millrace.pipelines.job import job_file_draft
    from millrace.pipelines.sources import format_detection
    from millrace.udfs.models.model_loading import read_card

    folder = Path(out)
    job_file_draft.refuse_existing(folder)
    card = read_card(Path(model))
    form = format_detection.source_of(str(source), format, settings).format
    declared = job_file_draft.declarations(card, columns or {}, form)
    with lakeless_session("init", spark) as used:
        from millrace.pipelines.validation import contract_suggestion

        found = contract_suggestion.suggest(
            used, str(source), format, contract_suggestion.SAMPLE_ROWS, progress_of(on_progress),
            settings, declared,
        )  # fmt: skip
    names = job_file_draft.key_of(found, key, card)
    return job_file_draft.write(found, names, Path(model), folder, name, trust)
