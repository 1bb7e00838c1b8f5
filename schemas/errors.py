"""Every way a Millrace command can fail, and the exit code each one has.

::

    MillraceError
    ├── UsageError        2   the job file, the arguments or the model are wrong
    │   ├── JobFileError      names file, line and key
    │   ├── ModelError        a model folder is not what its model.yaml says
    │   └── QueryError        SQL that is not a read-only query over known tables
    ├── GateRefused       3   the input breaks its contract
    │   └── SchemaMismatch    a declared column is missing or has another type
    ├── BudgetExceeded    4   stopped by the budget, resumable
    ├── RunFailed         5   something broke on the way, resumable
    │   ├── TooManyFailed     more rows without a prediction than the job allows
    │   ├── InputCorrupt      a file cannot be read; it is named
    │   ├── OutputMismatch    a model returned something its signature does not promise
    │   └── OutputRefused     a unit's outputs are not what the job says that they must be
    ├── ClaimHeld         6   another run holds the claim
    │   └── ClaimLost         this driver was silent, and another took its run over
    └── Interrupted     130   stopped by Ctrl-C, resumable
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Self

# Exit codes of what fails while rows are read: there `got` may quote one.
OF_ROWS = (3, 5)
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


class MillraceError(Exception):
    """An error that a user can act on: what is wrong, what was found, what is allowed, what to do next."""

    exit_code: ClassVar[int] = 5

    def __init__(
        self,
        what: str,
        *,
        got: str | None = None,
        allowed: str | None = None,
        next: str | None = None,  # noqa: A002 - what the user reads
    ) -> None:
        super().__init__(what)
        self.what, self.got, self.allowed, self.next = what, got, allowed, next

    def __str__(self) -> str:
        parts = [self.what]
        parts += [f"  got:     {self.got}"] if self.got else []
        parts += [f"  allowed: {self.allowed}"] if self.allowed else []
        parts += [f"  next:    {self.next}"] if self.next else []
        return "\n".join(parts)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle with the named fields: errors cross from Spark's workers to the driver."""
        return _rebuild, (type(self), self.what, self.got, self.allowed, self.next)

    def unquoted(self) -> Self:
        """Return the error for logs and remote systems: without `got` where it may quote a row."""
        if self.exit_code not in OF_ROWS:
            return self
        return type(self)(self.what, allowed=self.allowed, next=self.next)

    def renamed(self, names: Mapping[str, str]) -> Self:
        """Return the error with texts replaced, such as a temporary path by the user's."""

        def replaced(text: str | None) -> str | None:
            for name, shown in names.items():
                text = text and text.replace(name, shown)
            return text

        return type(self)(
            replaced(self.what) or "",
            got=replaced(self.got),
            allowed=replaced(self.allowed),
            next=replaced(self.next),
        )

    def as_json(self) -> dict[str, Any]:
        """Return the object that ``--json`` prints for an error."""
        return {
            "error": self.what,
            "got": self.got,
            "allowed": self.allowed,
            "next": self.next,
            "exit_code": self.exit_code,
        }


def _rebuild(
    kind: type[MillraceError], what: str, got: str | None, allowed: str | None, next_: str | None
) -> MillraceError:
    return kind(what, got=got, allowed=allowed, next=next_)


def without_addresses(text: str) -> str:
    """Remove memory addresses from a text, so that the same row has the same message in every run."""
    return _ADDRESS.sub("", text)


class UsageError(MillraceError):
    """The job file, the arguments or the model are wrong."""

    exit_code = 2


class JobFileError(UsageError):
    """A job file that cannot be used; the text names file, line and key."""


class ModelError(UsageError):
    """A model folder that is not what its ``model.yaml`` says, or does not fit the contract."""


class QueryError(UsageError):
    """SQL that is not one read-only query over known tables."""


class GateRefused(MillraceError):
    """The input breaks its contract by more than the contract allows."""

    exit_code = 3


class SchemaMismatch(GateRefused):
    """A declared column is missing from the input, or has another type there."""


class BudgetExceeded(MillraceError):
    """The run was stopped by its budget; it can be resumed."""

    exit_code = 4


class RunFailed(MillraceError):
    """The run failed; it can be resumed."""

    exit_code = 5


class InputCorrupt(RunFailed):
    """A file of the input cannot be read; the text names it."""


class OutputMismatch(RunFailed):
    """A model returned something that its signature does not promise."""


class OutputRefused(RunFailed):
    """A unit's outputs are not what the job says that they must be; the unit was not committed."""


class TooManyFailed(RunFailed):
    """More rows could not be scored than the job allows."""


class ClaimHeld(MillraceError):
    """Another run of the same job holds the claim."""

    exit_code = 6


class ClaimLost(ClaimHeld):
    """This driver was silent for longer than a lease, and another one took over its run.

    It must stop without a trace: the run's events and scratch directory are the other driver's now.
    """


class Interrupted(MillraceError):
    """Ctrl-C stopped the command at a safe point; 128 + SIGINT, as shells have it."""

    exit_code = 130
