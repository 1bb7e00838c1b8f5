"""Millrace: validated batch inference on Spark, with a bill that adds up.

`millrace.run("job.yaml")` runs a job; `millrace.read("lake")` reads its tables. docs/PYTHON.md has the rest.

One import name for all of it. In the repository the sub-packages are links to the folders of their names
at its top level; an installation has the folders themselves.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from millrace import errors
    from millrace.pipelines.api.drafts import init, suggest
    from millrace.pipelines.api.job_argument import load_job
    from millrace.pipelines.api.jobs import (
        Preflight,
        dry_run,
        dry_run_replay,
        plan,
        preflight,
        replay,
        run,
        validate,
    )
    from millrace.pipelines.api.lake import Lake, read
    from millrace.pipelines.api.models import convert_model, import_model, seal_model
    from millrace.pipelines.api.progress_events import ProgressEvent, TerminalProgress
    from millrace.pipelines.api.sessions import session
    from millrace.pipelines.planning.dry_run import DryRun
    from millrace.pipelines.planning.forecast import Forecast
    from millrace.pipelines.validation.verdict import Verdict
    from millrace.schemas.config import Job
    from millrace.schemas.summary import RunSummary

__all__ = [
    "DryRun",
    "Forecast",
    "Job",
    "Lake",
    "Preflight",
    "ProgressEvent",
    "RunSummary",
    "TerminalProgress",
    "Verdict",
    "convert_model",
    "dry_run",
    "dry_run_replay",
    "errors",
    "import_model",
    "init",
    "load_job",
    "plan",
    "preflight",
    "read",
    "replay",
    "run",
    "seal_model",
    "session",
    "suggest",
    "validate",
]

_API = "millrace.pipelines.api"
_MODULES = {  # by public name, the module that defines it
    "DryRun": "millrace.pipelines.planning.dry_run",
    "Forecast": "millrace.pipelines.planning.forecast",
    "Job": "millrace.schemas.config",
    "Lake": f"{_API}.lake",
    "ProgressEvent": f"{_API}.progress_events",
    "RunSummary": "millrace.schemas.summary",
    "TerminalProgress": f"{_API}.progress_events",
    "Verdict": "millrace.pipelines.validation.contract_check",
    "convert_model": f"{_API}.models",
    "import_model": f"{_API}.models",
    "init": f"{_API}.drafts",
    "load_job": f"{_API}.job_argument",
    "read": f"{_API}.lake",
    "seal_model": f"{_API}.models",
    "session": f"{_API}.sessions",
    "suggest": f"{_API}.drafts",
}


def __getattr__(name: str) -> Any:
    """Import the API when it is first used: `import millrace` alone loads neither Spark nor Arrow."""
    if name == "errors":
        return import_module("millrace.errors")
    if name not in __all__:
        raise AttributeError(f"module 'millrace' has no attribute {name!r}")
    return getattr(import_module(_MODULES.get(name, f"{_API}.jobs")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
