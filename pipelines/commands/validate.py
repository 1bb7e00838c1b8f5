"""``millrace validate``: validate the input of a job; with ``--suggest``, suggest a contract for a source."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from millrace.pipelines.commands.options import (
    EXIT_CODES,
    json_option,
    log_option,
    set_option,
    source_settings,
)
from millrace.schemas.errors import UsageError

if TYPE_CHECKING:
    from millrace.pipelines.validation.verdict import Verdict


@click.command(epilog=EXIT_CODES)
@click.argument("job_file", type=click.Path(path_type=Path), required=False)
@set_option
@click.option(
    "--suggest", metavar="SOURCE", help="Write a contract that this file, folder or table keeps."
)
@click.option(
    "--format", "form", metavar="FORMAT", help="Of that source, where its name does not say."
)
@click.option(
    "--sample-rows",
    type=click.IntRange(1),
    help="Rows of it to profile, about; 100,000 if left out.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write; else it is printed.",
)
@json_option
@log_option
def validate(
    job_file: Path | None, overrides: tuple[str, ...], as_json: bool, **suggestion: Any
) -> None:
    """Validate a job's input and say whether the gate would open; nothing is scored.

    The tables quarantine and validations get quarantined rows and the result of every rule. With
    --suggest there is no job yet: the command profiles a source, and writes a contract that it keeps.

    \b
    Examples:
      millrace validate job.yaml
      millrace validate --suggest data/payments.csv --out payments.yaml
      millrace validate --suggest data/events/ --format parquet --sample-rows 50000
      millrace validate --suggest umsatz.csv --set source.encoding=windows-1252
    """
    source = suggestion.pop("suggest")
    if source is not None:
        if job_file is not None:
            raise UsageError(
                "--suggest goes without a job file", next="millrace validate --suggest SOURCE"
            )
        suggest_contract(source, **suggestion, overrides=overrides, as_json=as_json)
    elif job_file is None or any(suggestion.values()):
        raise UsageError(
            "validate wants a job file, or --suggest SOURCE with its options",
            next="millrace validate --help",
        )
    else:
        validate_job(job_file, overrides, as_json=as_json)


def validate_job(job_file: Path, overrides: Sequence[str], *, as_json: bool) -> None:
    """Validate a job's input and print the verdict. Raises GateRefused."""
    from millrace.pipelines.api import jobs
    from millrace.pipelines.api.progress_events import TerminalProgress
    from millrace.pipelines.console import output

    progress = TerminalProgress(quiet=as_json)
    verdict = jobs.validate(jobs.load_job_file(job_file, overrides), on_progress=progress)
    from millrace.pipelines.validation.verdict import gate

    rules = _rules(verdict)
    if as_json:
        gate(verdict)
        output.print_json(
            {"rows": verdict.rows, "quarantined": verdict.quarantined, "rules": rules}
        )
        return
    output.print_rows(list(rules[0]) if rules else [], rules)
    output.echo(f"{verdict.rows:,} rows, {verdict.quarantined:,} quarantined")
    gate(verdict)
    output.echo("the gate is open")


def suggest_contract(
    source: str,
    form: str | None,
    sample_rows: int | None,
    out: Path | None,
    overrides: Sequence[str] = (),
    *,
    as_json: bool,
) -> None:
    """Print the contract that a source keeps, or write it to ``out``. Raises UsageError.

    ``overrides`` are settings of the source, such as ``source.delimiter=;``; they replace detected ones.
    """
    from millrace.pipelines.console import output

    settings = source_settings(overrides, "--suggest")
    if out is not None:
        _check_new(out)
    from millrace.pipelines.api import drafts
    from millrace.pipelines.api.progress_events import TerminalProgress
    from millrace.pipelines.validation.contract_file import as_json as values_of
    from millrace.pipelines.validation.contract_file import as_yaml

    progress = TerminalProgress(quiet=as_json or out is None)
    found = drafts.suggest(
        source, format=form, sample_rows=sample_rows, settings=settings, on_progress=progress
    )
    if out is not None:
        out.write_text(as_yaml(found, out.parent), "utf-8")
    if as_json:
        output.print_json(values_of(found))
    elif out is None:
        output.echo(as_yaml(found).rstrip("\n"))
    else:
        rules = sum(len(column.rules) for column in found.columns)
        sample = f"{found.sampled:,} of {found.rows:,} rows"
        output.echo(f"{out}: {len(found.columns)} columns and {rules} rules, from {sample}")


def _rules(verdict: Verdict) -> list[dict[str, Any]]:
    return [
        {
            "rule": one.rule,
            "severity": one.severity,
            "checked": one.checked,
            "failed": one.failed,
            "passed": one.passed,
        }
        for one in verdict.results
    ]


def _check_new(out: Path) -> None:
    from millrace.pipelines.lake.write_access import check_file

    if out.exists():
        raise UsageError(
            "the file to write is there already", got=str(out), next="name another, or remove it"
        )
    check_file(out, "--out")
