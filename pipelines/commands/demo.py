"""The demonstrations: real data, a real model, a real run, and what came of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from pipelines import console, score
from pipelines.command_session import session_for
from pipelines.progress import Progress
from pipelines.query import query
from schemas.config import Job
from schemas.errors import RunFailed
from schemas.yaml_file import load

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


@dataclass(frozen=True)
class Demo:
    """A demonstration: who prepares it, and what is shown of its run."""

    prepares: str  # a module of examples/
    measure: Callable[[Path], dict[str, Any]]  # what --json has beside the run's totals
    show: Callable[[Path], None]
    next: str = ""


def run(name: str, out: Path, ask: str | None, *, as_json: bool) -> None:
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
        _python("examples.ask", [*words, *(["--json"] if as_json else [])])


def shipped(path: str) -> Path:
    """A file of conf/: beside the packages in a checkout, inside them when installed from a wheel."""
    package = Path(str(resources.files("pipelines")))
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / path).is_file():
            return folder / path
    raise RunFailed(f"conf/{path} is not where Millrace was installed", got=str(package))


def _run_job(name: str, folder: Path, *, as_json: bool, quiet: bool) -> None:
    lake = folder / "lake"
    job = load(shipped(f"jobs/{name}.yaml"), Job, overrides=_overrides(folder))
    command = [sys.executable, "-m", DEMOS[name].prepares, "--out", str(folder)]
    told = subprocess.DEVNULL if quiet else None
    preparing = subprocess.Popen(command, stdout=told or sys.stderr, stderr=told)  # noqa: S603
    try:
        with session_for(job) as spark:  # it opens while the model trains
            _finished(preparing.wait(), command)
            summary = score.run(spark, job, Progress.of_command(quiet=quiet))
    finally:
        preparing.kill()
    if as_json:
        console.print_summary(summary, as_json=True, more=DEMOS[name].measure(lake))
    elif not quiet:
        console.print_summary(summary, as_json=False)
        DEMOS[name].show(lake)
        console.echo(NEXT.format(lake=lake) + DEMOS[name].next)


def _overrides(folder: Path) -> list[str]:
    paths = {
        "source.path": folder / "input",
        "model.uri": folder / "model",
        "output.path": folder / "lake",
        "cost.prices": shipped("prices/example.yaml"),
    }
    return [f"{key}={json.dumps(str(path))}" for key, path in paths.items()]


def _nothing(_lake: Path) -> dict[str, Any]:
    return {}


def _digits_accuracy(lake: Path) -> dict[str, Any]:
    (held_out,) = query(lake, ACCURACY).to_pylist()
    return {"accuracy": round(float(held_out["accuracy"]), 6), "held_out": held_out["n"]}


def _show_digits(lake: Path) -> None:
    _table(lake, REFUSED, "\nRows that were refused, and why")
    pairs = query(lake, CONFUSION).to_pylist()
    counts = {(pair["truth"], pair["predicted"]): pair["n"] for pair in pairs}
    rows = [
        {"truth": truth, **{str(guess): counts.get((truth, guess), 0) for guess in range(10)}}
        for truth in range(10)
    ]
    console.print_rows(list(rows[0]), rows, "\nHeld-out digits: truth down, prediction across")
    found = _digits_accuracy(lake)
    joined = f"{found['held_out']} held-out digits, by a SQL join with their labels"
    console.echo(f"accuracy on {joined}: {found['accuracy']:.4f}")
    _table(lake, COST, "\nCost by partition")


def _show_docs(lake: Path) -> None:
    _table(lake, COST, "\nCost by partition")


DEMOS = {
    "digits": Demo("examples.digits", _digits_accuracy, _show_digits),
    "docs": Demo(
        "examples.docs",
        _nothing,
        _show_docs,
        '\n  millrace demo docs --ask "how do I read a file line by line"',
    ),
}


def _table(lake: Path, sql: str, title: str) -> None:
    found = query(lake, sql)
    console.print_rows(found.column_names, found.to_pylist(), title)


def _python(module: str, arguments: Sequence[str]) -> None:
    """Run a module in a Python of its own: torch stays out of the driver."""
    command = [sys.executable, "-m", module, *arguments]
    _finished(subprocess.run(command, check=False).returncode, command)  # noqa: S603


def _finished(code: int, command: Sequence[str]) -> None:
    if code:
        raise RunFailed(
            "a step of the demonstration failed", got=f"{' '.join(command[1:])}: exit code {code}"
        )
