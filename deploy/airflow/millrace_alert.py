"""The alert of a task that failed for good: a line of JSON in its log, and to a webhook if there is one."""

from __future__ import annotations

import json
import urllib.request
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseNotifier, Connection
from airflow.sdk.exceptions import AirflowNotFoundException

if TYPE_CHECKING:
    from airflow.sdk import Context

CONNECTION = "millrace_alert"  # its host is the webhook's URL, its password a bearer token
MARK = "MILLRACE_ALERT"
_TIMEOUT_S = 10.0


class Alert(BaseNotifier):
    """One line of JSON, logged, and posted to the connection `millrace_alert` where there is one."""

    def notify(self, context: Context) -> None:
        """Tell it. What cannot be posted is in the log all the same, and so is why."""
        line = json.dumps(alert_of(context), sort_keys=True, default=str)
        self.log.error("%s %s", MARK, line)
        try:
            webhook = Connection.get(CONNECTION)
        except AirflowNotFoundException:
            return
        try:
            _post(webhook, line)
        except OSError as error:
            self.log.exception("the alert was not posted to %s", CONNECTION, exc_info=error)


def alert_of(context: Context) -> dict[str, Any]:
    """Which task of which run failed, and why."""
    ti, run = context["ti"], context["dag_run"]
    return {
        "dag": ti.dag_id,
        "task": ti.task_id,
        "run": ti.run_id,
        "logical_date": getattr(run, "logical_date", None),
        "try": ti.try_number,
        "error": str(context.get("exception") or context.get("reason") or "not known")[:2000],
    }


def _post(webhook: Connection, line: str) -> None:
    """Raises OSError where nobody answers, or with an error."""
    headers = {"Content-Type": "application/json"}
    if webhook.password:
        headers["Authorization"] = f"Bearer {webhook.password}"
    request = urllib.request.Request(_url(webhook), line.encode(), headers)  # noqa: S310 - checked
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S):  # noqa: S310 - the same
        return


def _url(webhook: Connection) -> str:
    url = webhook.host or ""
    if not url.startswith(("http://", "https://")):
        raise OSError(f"host of the connection: got {url or 'nothing'}, allowed: an http(s) URL")
    return url
