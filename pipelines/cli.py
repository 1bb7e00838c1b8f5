"""The command line: a registry of commands, and errors as exit codes."""

from __future__ import annotations

import atexit
import os
import sys
import traceback
from typing import Any

import click

from millrace.pipelines.commands.demo import demo
from millrace.pipelines.commands.drift import baseline, drift
from millrace.pipelines.commands.init import init
from millrace.pipelines.commands.ledger import export, ledger
from millrace.pipelines.commands.metrics import metrics
from millrace.pipelines.commands.model import model
from millrace.pipelines.commands.options import COMPLETION, EXIT_CODES
from millrace.pipelines.commands.plan import plan
from millrace.pipelines.commands.preflight import preflight
from millrace.pipelines.commands.register import register
from millrace.pipelines.commands.replay import replay
from millrace.pipelines.commands.report import report
from millrace.pipelines.commands.reprice import reprice
from millrace.pipelines.commands.run import run
from millrace.pipelines.commands.runs import runs
from millrace.pipelines.commands.show import show
from millrace.pipelines.commands.sql import sql
from millrace.pipelines.commands.vacuum import vacuum
from millrace.pipelines.commands.validate import validate
from millrace.schemas.errors import MillraceError, RunFailed, UsageError

COMMANDS = (
    init, preflight, plan, run, replay, validate, demo, model, runs, show, report, sql, register, metrics,
    baseline, drift, reprice, export, ledger, vacuum,
)  # fmt: skip


class ExitCodes(click.Group):
    """A group that prints every error as a text or as JSON, and ends with its exit code."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command and exit."""
        arguments = list(kwargs.get("args") or (args[0] if args else None) or sys.argv[1:])
        try:
            code = super().main(args=arguments, prog_name="millrace", standalone_mode=False)
        except MillraceError as error:
            code = _print(error, arguments)
        except click.ClickException as error:
            context = error.ctx if isinstance(error, click.UsageError) else None
            usage = context.command_path if context else "millrace"
            code = _print(UsageError(error.format_message(), next=f"{usage} --help"), arguments)
        except (click.Abort, KeyboardInterrupt) as error:
            from millrace.pipelines.console.signals import stopped

            code = _print(stopped(error), arguments)
        except Exception as error:  # noqa: BLE001 - a bug of ours: printed as one, with its trace
            code = _print(_unexpected(error), arguments)
        if args or kwargs:  # the call of a program, which goes on
            sys.exit(code or 0)
        _exit_process(code or 0)


def _exit_process(code: int) -> None:
    """End the process. Threads of Arrow's that outlive its statics would abort it at its end."""
    atexit._run_exitfuncs()  # noqa: SLF001 - there is no public way
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _unexpected(error: Exception) -> MillraceError:
    """Return a refusal of the file system as one, and another error as a bug, whose trace is printed."""
    if isinstance(error, OSError):
        from millrace.pipelines.lake.write_access import explained

        if (refused := explained(error)) is not None:
            return refused
    _print_trace(error)
    return RunFailed("a bug in Millrace", got=repr(error), next="report it")


def _print_trace(error: Exception) -> None:
    from millrace.pipelines.console import structured_log

    if structured_log.is_enabled():
        where = "".join(traceback.format_tb(error.__traceback__))
        # Without its text, which may quote a row.
        structured_log.write("error", type(error).__name__, level="error", trace=where)
    else:
        traceback.print_exc()


def _print(error: MillraceError, arguments: list[str]) -> int:
    from millrace.pipelines.console.output import print_error

    return print_error(error, as_json="--json" in arguments)


@click.group(
    cls=ExitCodes,
    epilog=f"{EXIT_CODES}\n\n{COMPLETION}",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="millrace")
def main() -> None:
    """Validated batch inference on Spark, with a bill that adds up.

    \b
    Start with:
      millrace demo digits
      millrace init --from data.csv --model model
      millrace run job.yaml
      millrace sql "SELECT * FROM runs_current" --lake demo-out/digits/lake
    """


for command in COMMANDS:
    main.add_command(command)


if __name__ == "__main__":
    main()
