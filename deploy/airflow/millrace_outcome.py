"""Millrace's exit codes as what Airflow does next: go on, fail at once, or try again later."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any, NoReturn

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule
from airflow.sdk.exceptions import AirflowException, AirflowFailException

REFUSED, BUDGET, FAILED, CLAIM_HELD, INTERRUPTED = 3, 4, 5, 6, 130
NO_RETRY = {
    2: "the job file or its arguments are wrong",
    REFUSED: "the input breaks its contract",
    BUDGET: "stopped by the budget; raise cost.budget and clear this task to go on",
    INTERRUPTED: "somebody stopped it with Ctrl-C; clear this task to go on after the last commit",
}
# What failed before a row was read: of all else `got` may quote one, and an alert leaves the house.
_QUOTED = (2, BUDGET, CLAIM_HELD)
_FIELD = re.compile(r"\n  (got|allowed|next): +")  # of an event's detail
_CODE = re.compile(r"Error code is: (-?\d+)")  # what SparkSubmitHook says


class Resumable(AirflowException):
    """The run broke on the way; what it committed stays, and the next try goes on there."""


class ClaimIsHeld(AirflowException):
    """Another driver is at work on this very run."""


def retry_policy(claim_delay_s: int) -> ExceptionRetryPolicy:
    """Failures are tried again after the task's delay, a held claim after its own."""
    held = RetryRule(
        ClaimIsHeld,
        RetryAction.RETRY,
        timedelta(seconds=claim_delay_s),
        "another driver is at work on this run",
    )
    return ExceptionRetryPolicy([held])


def raise_for(code: int, details: dict[str, Any]) -> NoReturn:
    """The exception for an exit code; ``details`` is Millrace's own object about the error."""
    names = ("got", "next") if code in _QUOTED else ("next",)
    parts = (details.get("error"), *(f"{name}: {details.get(name)}" for name in names))
    why = "; ".join(str(part) for part in parts if part and not str(part).endswith(": None"))
    if code in NO_RETRY:
        raise AirflowFailException(f"exit code {code}, {NO_RETRY[code]}: {why}")
    if code == CLAIM_HELD:
        raise ClaimIsHeld(f"exit code {code}: {why}")
    raise Resumable(f"exit code {code}, the next try goes on after the last commit: {why}")


def code_in(text: str) -> int | None:
    """The exit code in a message of SparkSubmitHook; None: the driver ran elsewhere."""
    found = _CODE.search(text)
    return int(found[1]) if found else None


def details_in(text: str) -> dict[str, Any]:
    """The last JSON object that stands on a line of its own; empty where there is none."""
    for line in reversed(text.splitlines()):
        if line.startswith("{"):
            try:
                found: dict[str, Any] = json.loads(line)
            except ValueError:
                continue
            return found
    return {}


def code_of(event: dict[str, Any] | None) -> tuple[int, dict[str, Any]]:
    """The exit code that a run's last event stands for, and its reason."""
    if event is None:
        return FAILED, {"error": "the driver ended before the run began"}
    what, *fields = _FIELD.split(event["detail"] or f"the run's last event is {event['state']}")
    details = {"error": what, **dict(zip(fields[::2], fields[1::2], strict=True))}
    if event["state"] == "refused":
        return REFUSED, details
    if event["state"] != "stopped":
        return FAILED, details
    kind = (event["detail"] or "").partition(":")[0]  # SIGTERM, which machines send, is a failure
    return {"BudgetExceeded": BUDGET, "KeyboardInterrupt": INTERRUPTED}.get(kind, FAILED), details
