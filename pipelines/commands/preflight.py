"""``millrace preflight``: check a job before a JVM starts, and print its facts."""

from __future__ import annotations

from pathlib import Path

import click

from millrace.pipelines.commands.options import job_argument, json_option, set_option


@click.command()
@job_argument
@set_option
@json_option
def preflight(job_file: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """Check a job without Spark: its file, its model, its prices, its lake's store, its input's files.

    The command reads headers and footers of files, and no row. It creates a file in the lake and removes
    it, which shows that the lake can be written. The facts about the input are those that a run would pin
    now, in the column pinned_input of the table runs.

    \b
    Examples:
      millrace preflight job.yaml
      millrace preflight job.yaml --set source.path=input/2026-11-25 --json
    """
    from millrace.pipelines.api import jobs
    from millrace.pipelines.console import output
    from millrace.pipelines.console.formatting import input_lines

    found = jobs.preflight(jobs.load_job_file(job_file, overrides))
    if as_json:
        output.print_json(found)
        return
    read, price = found["input"], found["instance"] or "no prices"
    output.echo(f"{found['job']}: {found['model']} in {found['model_format']}, {price}")
    output.echo(f"place  {_place(found['place'], found['place_why'])}")
    if decoded := found["decoded_as"]:
        output.echo(f"image  {_decoding(**decoded)}")
    first, *ignored = input_lines(read)
    output.echo(f"input  {read['root']}: {first}")
    for line in ignored:
        output.echo(f"       {output.escape_controls(line)}")
    output.echo(f"lake   {found['lake']}: {found['store']}")


def _place(engine: str, why: str | None) -> str:
    if engine == "embedded":
        return "the embedded engine, without Java"
    return "Spark" if why is None else f"Spark's JVM, not the embedded engine: {why}"


def _decoding(orientation: str, background: tuple[int, ...], max_pixels: int) -> str:
    orientations = {
        "exif": "turned upright as EXIF says",
        "stored": "as stored, whatever EXIF says",
    }
    return (
        f"{orientations[orientation]}; transparent over the colour {', '.join(map(str, background))};"
        f" at most {max_pixels:,} pixels"
    )
