"""Commands to functions; errors to exit codes."""

from __future__ import annotations

import atexit
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipelines.cost_commands import export, ledger, reprice
from pipelines.drift_commands import baseline, drift
from pipelines.model_commands import model
from pipelines.observe_commands import metrics
from pipelines.options import job_argument, json_option, lake_option, log_option, set_option
from pipelines.preflight_command import preflight
from pipelines.sql_commands import register, sql
from schemas.errors import MillraceError, RunFailed, UsageError

if TYPE_CHECKING:
    from schemas.config import Job

EXIT_CODES = """\b
Exit codes: 0 done; 2 job file or arguments wrong; 3 the gate refused the input;
4 stopped by the budget; 5 failed (run again to resume); 6 another run holds the claim."""


class Commands(click.Group):
    """Every error ends here, as a text or as JSON, with its exit code."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command and exit."""
        arguments = list(kwargs.get("args") or (args[0] if args else None) or sys.argv[1:])
        try:
            code = super().main(args=arguments, prog_name="millrace", standalone_mode=False)
        except MillraceError as error:
            code = _say(error, arguments)
        except click.ClickException as error:
            usage = (
                error.ctx.command_path
                if isinstance(error, click.UsageError) and error.ctx
                else "millrace"
            )
            code = _say(UsageError(error.format_message(), next=f"{usage} --help"), arguments)
        except (click.Abort, KeyboardInterrupt):
            from pipelines.console import stopped

            code = _say(stopped(), arguments)
        except Exception as error:  # noqa: BLE001 - a bug of ours: said as one, with its trace
            _trace(error)
            code = _say(
                RunFailed("a bug in Millrace", got=repr(error), next="report it"), arguments
            )
        if args or kwargs:  # a program's call, not a process's own end
            sys.exit(code or 0)
        _leave(code or 0)


def _leave(code: int) -> None:
    """End the process. Threads of Arrow's that outlive its statics would abort it after all is done."""
    atexit._run_exitfuncs()  # noqa: SLF001 - there is no public way
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _trace(error: Exception) -> None:
    from pipelines import json_log

    if json_log.is_asked():
        where = "".join(traceback.format_tb(error.__traceback__))
        # Without its text, which may quote a row.
        json_log.write("error", type(error).__name__, level="error", trace=where)
    else:
        traceback.print_exc()


def _say(error: MillraceError, arguments: list[str]) -> int:
    from pipelines.console import print_error

    return print_error(error, as_json="--json" in arguments)


@click.group(
    cls=Commands, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(package_name="millrace")
def main() -> None:
    """Validated batch inference on Spark, with a bill that adds up.

    \b
    Start with:
      millrace demo digits
      millrace run conf/jobs/digits.yaml
      millrace sql "SELECT * FROM runs_current" --lake demo-out/digits/lake
    """


@main.command(epilog=EXIT_CODES)
@job_argument
@set_option
@click.option("--fresh", is_flag=True, help="Score all of it again, as a new run.")
@json_option
@log_option
def run(job_file: Path, overrides: tuple[str, ...], fresh: bool, as_json: bool) -> None:
    """Run a job, or what is left of it: a run that was killed goes on after its last commit.

    \b
    Examples:
      millrace run conf/jobs/digits.yaml
      millrace run conf/jobs/mnist.yaml --set source.path=t10k-images-idx3-ubyte.gz
      millrace run conf/jobs/sms.yaml --set source.path=sms.tsv --set engine.batch=32 --json
    """
    from pipelines.command_session import process_began, session_for
    from pipelines.signals import stop_at_signals

    stop_at_signals()
    job, began = _job(job_file, overrides), process_began()
    with session_for(job, held_since=began, importing=["pipelines.score"]) as spark:
        from pipelines.console import print_summary
        from pipelines.progress import Progress
        from pipelines.score import run as run_job

        summary = run_job(spark, job, Progress.of_command(quiet=as_json), fresh=fresh)
    print_summary(summary, as_json=as_json)


@main.command(epilog=EXIT_CODES)
@click.argument("run_id", metavar="RUN")
@job_argument
@set_option
@click.option(
    "--repaired",
    metavar="SOURCE",
    help="Where the repaired rows are: a path, or FORMAT:PATH. Without it, the run's own input.",
)
@click.option("--failed", is_flag=True, help="Take up rows that the model could not score, too.")
@json_option
@log_option
def replay(
    run_id: str,
    job_file: Path,
    overrides: tuple[str, ...],
    repaired: str | None,
    failed: bool,
    as_json: bool,
) -> None:
    """Score the refused rows of RUN that were repaired, or that a corrected contract accepts.

    Only those are read into the model, and only they are charged: a run of its own. Which rows they
    are is told by their key; one that is scored already is left out. What breaks the contract still is
    quarantined again. The view replayed has the old reasons, the new run and the outcome.

    \b
    Examples:
      millrace replay digits-1a2b3c4d conf/jobs/digits.yaml
      millrace replay digits-1a2b3c4d conf/jobs/digits.yaml --repaired parquet:repaired/
      millrace sql "SELECT outcome, count(*) AS n FROM replayed GROUP BY outcome"
    """
    from pipelines.replay import command

    command(run_id, _job(job_file, overrides), repaired, failed_too=failed, as_json=as_json)


@main.command(epilog=EXIT_CODES)
@job_argument
@set_option
@click.option(
    "--deadline", metavar="TIME", help="90s, 30m or 1h30m: mark the cheapest that meets it."
)
@click.option(
    "--chart", type=click.Path(path_type=Path, dir_okay=False), help="Also draw it, as an SVG file."
)
@json_option
@log_option
def plan(
    job_file: Path,
    overrides: tuple[str, ...],
    deadline: str | None,
    chart: Path | None,
    as_json: bool,
) -> None:
    """Foresee a run: its rows, its time and its cost, here and on the price book's other instances.

    A small part of the input is scored to measure with; no prediction is kept. Past runs of the job
    correct the forecast.

    \b
    Examples:
      millrace plan conf/jobs/digits.yaml
      millrace plan conf/jobs/mnist.yaml --deadline 30m --chart plan.svg
      millrace plan conf/jobs/sms.yaml --set cost.instance=c7i.xlarge --json
    """
    from pipelines.plan import command

    command(_job(job_file, overrides), deadline, chart, as_json=as_json)


@main.command(epilog=EXIT_CODES)
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
    job_file: Path | None,
    overrides: tuple[str, ...],
    suggest: str | None,
    form: str | None,
    sample_rows: int | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Validate a job's input and say whether the gate would open; nothing is scored.

    Refused rows and every rule's result are written to the tables quarantine and validations. With
    --suggest there is no job yet: a source is profiled, and what it seems to promise is written down.

    \b
    Examples:
      millrace validate conf/jobs/digits.yaml
      millrace validate --suggest data/payments.csv --out payments.yaml
      millrace validate --suggest data/events/ --format parquet --sample-rows 50000
    """
    if suggest is not None:
        if job_file is not None or overrides:
            raise UsageError(
                "--suggest goes without a job file", next="millrace validate --suggest SOURCE"
            )
        from pipelines.suggest_command import command

        command(suggest, form, sample_rows, out, as_json=as_json)
        return
    if job_file is None or form or sample_rows or out:
        raise UsageError(
            "validate wants a job file, or --suggest SOURCE with its options",
            next="millrace validate --help",
        )
    from pipelines.command_session import session_for

    job = _job(job_file, overrides)
    with session_for(job, importing=["pipelines.score"], scores=False) as spark:
        from pipelines import console, score
        from pipelines.progress import Progress
        from pipelines.validate import gate

        verdict = score.check(spark, job, Progress.of_command(quiet=as_json))
    rules = [
        {
            "rule": r.rule,
            "severity": r.severity,
            "checked": r.checked,
            "failed": r.failed,
            "passed": r.passed,
        }
        for r in verdict.results
    ]
    if as_json:
        gate(verdict)
        console.print_json(
            {"rows": verdict.rows, "quarantined": verdict.quarantined, "rules": rules}
        )
        return
    console.print_rows(list(rules[0]) if rules else [], rules)
    console.echo(f"{verdict.rows:,} rows, {verdict.quarantined:,} refused")
    gate(verdict)
    console.echo("the gate is open")


@main.command(epilog=EXIT_CODES)
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
    """Prepare real data and a real model, run the job, and show what came of it.

    \b
    Examples:
      millrace demo digits
      millrace demo docs
      millrace demo docs --ask "how do I read a file line by line"
    """
    from pipelines import demo as demos

    if ask is not None and name != "docs":
        raise UsageError(
            "--ask goes with the demo docs", got=name, next="millrace demo docs --ask ..."
        )
    demos.run(name, out, ask, as_json=as_json)


@main.command()
@lake_option
@json_option
def runs(lake: Path, as_json: bool) -> None:
    """List the runs of a lake: what ran, what it cost, where it stands.

    \b
    Example:
      millrace runs --lake demo-out/digits/lake
    """
    from pipelines.answer import answer

    answer(lake, RUNS_SQL, "json" if as_json else "table")


@main.command()
@click.argument("run_id")
@lake_option
@json_option
def show(run_id: str, lake: Path, as_json: bool) -> None:
    """Show one run: its events, its rules, and what it cost by kind.

    \b
    Example:
      millrace show digits-1a2b3c4d-5e6f70 --lake demo-out/digits/lake
    """
    from pipelines.show import show as show_run

    show_run(lake, run_id, as_json=as_json)


@main.command()
@click.argument("run_id", required=False)
@lake_option
@click.option(
    "--show-examples",
    is_flag=True,
    help="With values and keys of refused rows, on the page about the rules.",
)
@json_option
def report(run_id: str | None, lake: Path, show_examples: bool, as_json: bool) -> None:
    """Write a run's report anew from the tables: HTML pages that need nothing else.

    One is about the run, one about its rules, one about all runs of the lake; without RUN_ID, only that.
    Of refused rows there are counts, and what their values look like: types, lengths, kinds of
    characters.

    \b
    Examples:
      millrace report --lake demo-out/digits/lake
      millrace report digits-1a2b3c4d --lake demo-out/digits/lake
      millrace report digits-1a2b3c4d --lake demo-out/digits/lake --show-examples
    """
    from pipelines.show import index_command, report_command

    if run_id is None:
        index_command(lake, as_json)
    else:
        report_command(lake, run_id, as_json, show_examples=show_examples)


@main.command()
@lake_option
@click.option(
    "--older-than",
    default="7d",
    show_default=True,
    metavar="AGE",
    help="Days or hours, 7d or 36h: younger data files are kept. More than any run took.",
)
@click.option("--yes", is_flag=True, help="Remove it; else only what would go is printed.")
@json_option
def vacuum(lake: Path, older_than: str, yes: bool, as_json: bool) -> None:
    """Find what a lake no longer needs: leftovers of dead runs, and data files of old versions.

    Nothing is removed without --yes, and never what a live run or a resume needs.

    \b
    Examples:
      millrace vacuum --lake demo-out/digits/lake
      millrace vacuum --lake demo-out/digits/lake --older-than 30d --yes
    """
    from pipelines.vacuum import command

    command(lake, older_than, yes=yes, as_json=as_json)


RUNS_SQL = (
    "SELECT run_id, state, at, rows_read, scored, quarantined, failed, wall_s, cost, currency "
    "FROM runs_current ORDER BY at DESC"
)


def _job(path: Path, overrides: tuple[str, ...]) -> Job:
    from schemas.config import Job
    from schemas.yaml_file import load

    return load(path, Job, overrides=overrides)


for command in (model, ledger, reprice, export, baseline, drift, sql, register, metrics, preflight):
    main.add_command(command)


if __name__ == "__main__":
    main()
