"""Translation of Spark's errors to Millrace's: a user reads the cause, not a JVM's stack trace."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

from deltalake.exceptions import DeltaError
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from millrace.schemas import errors
from millrace.schemas.errors import InputCorrupt, MillraceError, RunFailed

_OURS = re.compile(
    r"millrace\.schemas\.errors\.(\w+): (.*?)(?=\n\n|\n\tat |\nDriver stacktrace|\nJVM|\Z)",
    re.DOTALL,
)
_FILE = re.compile(
    r"(?:FAILED_READ_FILE[^]]*\].*?|while reading file:? )(file:\S+?|\w+://\S+?)(?:\.\s|\s|$)"
)
_PYTHON = re.compile(r"\n(\w[\w.]*(?:Error|Exception|Interrupt)): (.*?)(?:\n|\Z)")
_FULL = re.compile(r"[^\n]*(?:No space left on device|Disk quota exceeded)[^\n]*")
_MAX_CHARS = 500


@contextmanager
def translated(log: Path) -> Iterator[None]:
    """Raise what Spark or delta-rs raise inside as a MillraceError; ``log`` is where the whole story is."""
    try:
        yield
    except (PySparkException, Py4JError) as error:
        raise translate(str(error), str(log)) from error
    except DeltaError as error:
        raise RunFailed(
            "a table of the lake cannot be read or written",
            got=str(error)[:_MAX_CHARS],
            next="restore the table, then run the job again",
        ) from error


def translate(text: str, log: str) -> MillraceError:
    """The error behind a text of Spark's: our own from a worker, a file it could not read, or the rest."""
    if match := _OURS.search(text):
        return _ours(match[1], match[2])
    if match := _FULL.search(text):
        return RunFailed(
            "a disk is full; nothing of this unit was committed",
            got=match[0].strip()[:_MAX_CHARS],
            next="make room where the lake or Spark's local folders are, then run the job again",
        )
    if match := _FILE.search(text):
        name = unquote(match[1]).removeprefix("file://")
        return InputCorrupt(
            f"{name}: cannot be read; nothing of this unit was committed",
            next="restore the file or take it out of source.path, then run the job again",
        )
    if match := _PYTHON.search(text):
        return RunFailed(
            "a task failed on all its attempts; nothing of its unit was committed",
            got=f"{match[1]}: {match[2]}"[:_MAX_CHARS],
            next=f"see {log}; then run the job again",
        )
    first = next((line for line in _lines(text)), "no message")
    return RunFailed(
        "Spark failed", got=first[:_MAX_CHARS], next=f"see {log}; then run the job again"
    )


def _lines(text: str) -> Iterator[str]:
    """What a JVM's error says, without py4j's own word on it."""
    for line in text.splitlines():
        if line.strip() and not line.startswith("An error occurred while calling"):
            yield line.removeprefix(": ")


def _ours(name: str, text: str) -> MillraceError:
    """An error of ours, from the text that a worker's traceback has of it; in a worker it fails the run."""
    what, *named = text.strip().split("\n  ")
    fields = {}
    for part in named:
        label, colon, value = part.partition(":")
        if colon and label.strip() in ("got", "allowed", "next"):
            fields[label.strip()] = value.strip()
    kind = getattr(errors, name, RunFailed)
    return (kind if issubclass(kind, RunFailed) else RunFailed)(what, **fields)
