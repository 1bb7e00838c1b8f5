"""``millrace preflight``: what is wrong with a job before a JVM starts, and what the job is if nothing is."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipelines.options import job_argument, json_option, set_option

if TYPE_CHECKING:
    from schemas.config import Job


@click.command()
@job_argument
@set_option
@json_option
def preflight(job_file: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """Check a job without Spark: its file, its model, its prices, its lake's store, its input's files.

    No row is read and nothing is written. What it says of the input, sha256 first, is what a run that
    starts now would pin and tell in the column pinned_input of the table runs.

    \b
    Examples:
      millrace preflight conf/jobs/digits.yaml
      millrace preflight conf/jobs/digits.yaml --set source.path=input/2026-11-25 --json
    """
    from pipelines import console
    from schemas.config import Job
    from schemas.yaml_file import load

    found = checked(load(job_file, Job, overrides=overrides), datetime.now(UTC))
    if as_json:
        console.print_json(found)
        return
    read, spent = found["input"], found["instance"] or "no prices"
    console.echo(f"{found['job']}: {found['model']} in {found['model_format']}, {spent}")
    console.echo(f"input  {read['root']}: {read['files']:,} files, {read['bytes']:,} bytes")
    console.echo(f"lake   {found['lake']}: {found['store']}")


def checked(job: Job, now: datetime) -> dict[str, Any]:
    """What the job is, as plain values; money as a text.

    Raises UsageError for what a run would refuse before it reads a row.
    """
    from pipelines import pinning, store
    from pipelines.preflight import rate, verified_model

    safe = store.refuse_unsafe(job.output.path, single_writer=job.run.single_writer)
    model, price = verified_model(job), rate(job.cost, now)
    budget = job.cost.budget if job.cost else None
    return {
        "job": job.name,
        "table": job.table,
        "lake": str(Path(job.output.path).absolute()),
        "store": safe.name,
        "model": model.card.title,
        "model_format": model.card.format,
        "model_digest": model.digest,
        "instance": price and price.instance.sku,
        "currency": price and price.currency,
        "budget": None if budget is None else f"{budget:f}",
        "input": pinning.pin(job.source).summary(),
    }
