"""The exceptions that the Python API raises; each says what is wrong, got, allowed and next."""

from __future__ import annotations

from millrace.schemas.errors import (
    BudgetExceeded,
    ClaimHeld,
    ClaimLost,
    GateRefused,
    InputCorrupt,
    Interrupted,
    JobFileError,
    MillraceError,
    ModelError,
    OutputMismatch,
    OutputRefused,
    QueryError,
    RunFailed,
    SchemaMismatch,
    TooManyFailed,
    UsageError,
)

__all__ = [
    "BudgetExceeded",
    "ClaimHeld",
    "ClaimLost",
    "GateRefused",
    "InputCorrupt",
    "Interrupted",
    "JobFileError",
    "MillraceError",
    "ModelError",
    "OutputMismatch",
    "OutputRefused",
    "QueryError",
    "RunFailed",
    "SchemaMismatch",
    "TooManyFailed",
    "UsageError",
]
