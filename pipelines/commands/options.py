"""Options and texts that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from millrace.pipelines.lake.location import LakeLocation

EXIT_CODES = """\b
Exit codes: 0 done; 2 job file or arguments wrong; 3 the gate refused the input;
4 stopped by the budget; 5 failed, or ended by SIGTERM (run again to resume);
6 another run holds the claim; 130 stopped by Ctrl-C (run again to resume)."""
COMPLETION = """\b
Shell completion, in ~/.bashrc (or ~/.zshrc with zsh_source):
  eval "$(_MILLRACE_COMPLETE=bash_source millrace)"
For fish: _MILLRACE_COMPLETE=fish_source millrace > ~/.config/fish/completions/millrace.fish"""

job_argument = click.argument("job_file", type=click.Path(path_type=Path))
json_option = click.option(
    "--json", "as_json", is_flag=True, help="One JSON object on the last line."
)
lake_option = click.option(
    "--lake",
    default="lake",
    show_default=True,
    type=click.Path(path_type=Path),
    callback=lambda _context, _option, path: LakeLocation(path),
    help="Folder of the tables.",
)
set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="A.B=C",
    help="Override a key of the job file; repeatable.",
)
dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Show what the run would do; score and write nothing."
)


def _select_log(_context: click.Context, _option: click.Parameter, form: str | None) -> None:
    from millrace.pipelines.console import structured_log

    structured_log.enable(form)


log_option = click.option(
    "--log",
    type=click.Choice(["plain", "json"]),
    expose_value=False,
    callback=_select_log,
    help="Progress on the error stream: lines, or JSON objects. Else as MILLRACE_LOG says.",
)


def source_settings(overrides: Sequence[str], option: str) -> dict[str, Any]:
    """Return the settings of a source that ``--set source.KEY=VALUE`` gives. Raises UsageError."""
    from millrace.schemas.errors import UsageError
    from millrace.schemas.yaml_file import values_set

    tree = values_set(overrides)
    settings = tree.pop("source", {})
    if tree or not isinstance(settings, dict) or {"path", "format"} & settings.keys():
        raise UsageError(
            f"{option} takes settings of the source alone",
            got=", ".join(overrides),
            allowed="--set source.KEY=VALUE, such as source.delimiter or source.encoding; --format",
        )
    return settings
