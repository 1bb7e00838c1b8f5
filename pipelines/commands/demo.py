"""``millrace demo``: real data, a real model and a real run, with its results."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from millrace.pipelines.commands.options import EXIT_CODES, json_option, log_option
from millrace.pipelines.lake.location import LakeLocation
from millrace.schemas.errors import RunFailed, UsageError

ACCURACY = """
SELECT avg(CASE WHEN d.label = l.label THEN 1.0 ELSE 0.0 END) AS accuracy, count(*) AS n
FROM digits_current AS d JOIN labels_digits AS l ON d.image_id = l.image_id
WHERE l.is_holdout"""
CONFUSION = """
SELECT l.label AS truth, d.label AS predicted, count(*) AS n
FROM digits_current AS d JOIN labels_digits AS l ON d.image_id = l.image_id
WHERE l.is_holdout GROUP BY l.label, d.label"""
REFUSED = "SELECT * FROM quarantine_reasons ORDER BY rule"
COST = """
SELECT partition_id, rows_scored, slot_s, useful_s, model_load_s, startup_s, unattributed_s, cost, currency
FROM cost_by_partition WHERE rows_scored > 0 ORDER BY stage_id, partition_id"""
NEXT = """
Ask the tables yourself, without a JVM:
  millrace sql "SELECT * FROM cost_by_run" --lake {lake}
  millrace sql "SELECT * FROM quarantine_reasons" --lake {lake}"""


@click.command(epilog=EXIT_CODES)
@click.argument("name", type=click.Choice(["digits", "docs"]), default="digits")
@click.option("--out", type=click.Path(path_type=Path), default=Path("demo-out"), show_default=True)
@click.option(
    "--ask",
    metavar="QUESTION",
    help="With docs: answer from the predictions, best five paragraphs.",
)
@json_option
@log_option
def demo(name: str, out: Path, ask: str | None, as_json: bool) -> None:
    """Prepare real data and a real model, run the job, and show its results.

    \b
    Examples:
      millrace demo digits
      millrace demo docs
      millrace demo docs --ask "how do I read a file line by line"
    """
    if ask is not None and name != "docs":
        raise UsageError(
            "--ask goes with the demo docs", got=name, next="millrace demo docs --ask ..."
        )
    show_demo(name, out, ask, as_json=as_json)


class Demo(NamedTuple):
    """A demonstration: the module that prepares it, and the results that it shows."""

    module: str  # of examples/
    # Results that --json adds to the run's totals.
    measure: Callable[[LakeLocation], dict[str, Any]]
    show: Callable[[LakeLocation], None]
    next: str = ""


def show_demo(name: str, out: Path, ask: str | None, *, as_json: bool) -> None:
    """Prepare, run and show the demonstration ``name`` in ``out/name``; or answer a question from it."""
    folder = out / name
    if ask is None or not (folder / "lake" / "predictions_docs").is_dir():
        _run_job(name, folder, as_json=as_json and ask is None, quiet=as_json)
    if ask is not None:
        sys.stdout.flush()
        words = [
            "--lake",
            str(folder / "lake"),
            "--model",
            str(folder / "model"),
            "--question",
            ask,
        ]
        _python("millrace.examples.ask", [*words, *(["--json"] if as_json else [])])


def _run_job(name: str, folder: Path, *, as_json: bool, quiet: bool) -> None:
    import subprocess

    from millrace.pipelines.api import jobs
    from millrace.pipelines.api.progress_events import TerminalProgress
    from millrace.pipelines.api.sessions import session
    from millrace.pipelines.console import output
    from millrace.pipelines.sources.shipped_files import shipped
    from millrace.udfs.runtime.child_environment import environment

    lake, demo_ = LakeLocation(folder / "lake"), DEMOS[name]
    job = jobs.load_job_file(shipped(f"jobs/{name}.yaml"), _overrides(folder))
    command = [sys.executable, "-P", "-m", demo_.module, "--out", str(folder)]
    stdout, stderr = (subprocess.DEVNULL,) * 2 if quiet else (sys.stderr, None)
    preparing = subprocess.Popen(  # noqa: S603 - this very package
        command, stdout=stdout, stderr=stderr, env=environment()
    )
    try:
        with session(job) as spark:  # it opens while the model trains
            _check_exit(preparing.wait(), command)
            summary = jobs.run(job, spark=spark, on_progress=TerminalProgress(quiet=quiet))
    finally:
        preparing.kill()
    if as_json:
        output.print_summary(summary, as_json=True, more=demo_.measure(lake))
    elif not quiet:
        output.print_summary(summary, as_json=False)
        demo_.show(lake)
        output.echo(NEXT.format(lake=lake) + demo_.next)


def _overrides(folder: Path) -> list[str]:
    import json

    paths = {
        "source.path": folder / "input",
        "model.uri": folder / "model",
        "output.path": folder / "lake",
    }
    return [f"{key}={json.dumps(str(path))}" for key, path in paths.items()]


def _nothing(_lake: LakeLocation) -> dict[str, Any]:
    return {}


def _digits_accuracy(lake: LakeLocation) -> dict[str, Any]:
    (holdout,) = _rows(lake, ACCURACY)
    return {"accuracy": round(float(holdout["accuracy"]), 6), "held_out": holdout["n"]}


def _show_digits(lake: LakeLocation) -> None:
    from millrace.pipelines.console import output

    _table(lake, REFUSED, "\nRows that were quarantined, and why")
    counts = {(pair["truth"], pair["predicted"]): pair["n"] for pair in _rows(lake, CONFUSION)}
    rows = [
        {"truth": truth, **{str(guess): counts.get((truth, guess), 0) for guess in range(10)}}
        for truth in range(10)
    ]
    output.print_rows(list(rows[0]), rows, "\nHeld-out digits: truth down, prediction across")
    found = _digits_accuracy(lake)
    joined = f"{found['held_out']} held-out digits, by a SQL join with their labels"
    output.echo(f"accuracy on {joined}: {found['accuracy']:.4f}")
    _table(lake, COST, "\nCost by partition")


def _show_docs(lake: LakeLocation) -> None:
    _table(lake, COST, "\nCost by partition")


DEMOS = {
    "digits": Demo("millrace.examples.digits", _digits_accuracy, _show_digits),
    "docs": Demo(
        "millrace.examples.docs",
        _nothing,
        _show_docs,
        '\n  millrace demo docs --ask "how do I read a file line by line"',
    ),
}


def _rows(lake: LakeLocation, sql: str) -> list[dict[str, Any]]:
    from millrace.pipelines.api.lake import Lake

    rows: list[dict[str, Any]] = Lake(lake).sql(sql).to_pylist()
    return rows


def _table(lake: LakeLocation, sql: str, title: str) -> None:
    from millrace.pipelines.api.lake import Lake
    from millrace.pipelines.console import output

    found = Lake(lake).sql(sql)
    output.print_rows(found.column_names, found.to_pylist(), title)


def _python(module: str, arguments: Sequence[str]) -> None:
    """Run a module in a Python of its own: torch stays out of the driver."""
    import subprocess

    from millrace.udfs.runtime.child_environment import environment

    command = [sys.executable, "-P", "-m", module, *arguments]
    done = subprocess.run(command, check=False, env=environment())  # noqa: S603 - this very package
    _check_exit(done.returncode, command)


def _check_exit(code: int, command: Sequence[str]) -> None:
    if code:
        raise RunFailed(
            "a step of the demonstration failed", got=f"{' '.join(command[1:])}: exit code {code}"
        )
