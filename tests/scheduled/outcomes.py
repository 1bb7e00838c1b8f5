"""Run by Airflow's Python: what each exit code becomes, and what the retry policy then decides; as JSON."""

from __future__ import annotations

import json
import sys

from airflow.sdk.exceptions import AirflowException
from millrace_outcome import code_in, code_of, details_in, raise_for, retry_policy

TOLD = {"error": "why", "got": "this", "allowed": None, "next": "that", "exit_code": 0}


def outcome(code: int) -> list[object]:
    """The exception's name and text, the policy's action and its delay."""
    try:
        raise_for(code, TOLD)
    except AirflowException as error:
        decision = retry_policy(120).evaluate(error, 1, 5)
        delay = decision.retry_delay and decision.retry_delay.total_seconds()
        return [type(error).__name__, str(error), decision.action.value, delay]


def by_event(event: dict[str, object] | None) -> str:
    """The exception's text where the exit code did not come back."""
    try:
        raise_for(*code_of(event))
    except AirflowException as error:
        return str(error)


def main() -> None:
    message = f"Cannot execute: spark-submit. Error code is: 3.\nLog\n{json.dumps(TOLD)}\nmore {{"
    events = json.loads(sys.argv[1])
    print(
        json.dumps(
            {
                "codes": {code: outcome(code) for code in (1, 2, 3, 4, 5, 6, 130, -9)},
                "in_message": [code_in(message), details_in(message)],
                "killed": code_in("Error code is: -9."),
                "elsewhere": code_in("Driver driver-1 exited with status FAILED"),
                "by_event": [code_of(event)[0] for event in [None, *events]],
                "told_by_event": [by_event(event) for event in [None, *events]],
            }
        )
    )


if __name__ == "__main__":
    main()
