"""Which run of a lake a step asks about: SQL for `millrace sql`; nothing here is Airflow's."""

from __future__ import annotations

from typing import Any

_LAST = """\
SELECT r.run_id, r.state, r.detail, r.fingerprint, r.rows_read, r.scored, r.quarantined, r.failed,
  r.wall_s, CAST(r.cost AS VARCHAR) AS cost, r.currency, r.books_closed, r.model, r.model_digest
FROM runs_current AS r
WHERE r.job = '{job}' AND r.model_digest = '{model_digest}' AND r.pinned_input LIKE '%{sha256}%'
  AND r.replays IS NULL{only}
ORDER BY r.at DESC LIMIT 1"""


def last_of(job: dict[str, Any], *, done: bool = False) -> str:
    """The last event of the latest run over the input and with the model that preflight saw.

    A replay is none: it scores some rows of the input. ``done``: only of runs that are, since one with
    another contract may have been refused or stopped later.
    """
    return _LAST.format(
        job=job["job"],
        model_digest=job["model_digest"],
        sha256=job["input"]["sha256"],
        only=" AND r.state = 'done'" if done else "",
    )
