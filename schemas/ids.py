"""Ids of runs, fingerprints and ledger records; none depends on a clock."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def digest(value: Any) -> str:
    """Return the sha256 (hex) of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def short_digest(parts: dict[str, Any]) -> str:
    """Return the first 16 characters of the sha256 (hex) of a mapping's JSON."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def fingerprint(
    *, job: str, pinned: str, contract: dict[str, Any], model_digest: str, settings: dict[str, Any]
) -> str:
    """Return the sha256 (hex) of everything that decides the results; speed settings are excluded."""
    return digest(
        {
            "job": job,
            "pinned": pinned,
            "contract": contract,
            "model": model_digest,
            "settings": settings,
        }
    )


def run_id(job: str, fingerprint: str, nonce: str) -> str:
    """Return a run's id: the job, the start of its fingerprint, and a nonce that distinguishes reruns."""
    return f"{job}-{fingerprint[:8]}-{nonce}"


def transaction(fingerprint: str, series: int, unit: int | None = None) -> str:
    """Return the Delta transaction (``txnAppId``) that commits a unit's rows once; None: the run's.

    ``series`` is 0 for a fingerprint's first run, and counts the runs with ``--fresh``.
    """
    parts = ["millrace", fingerprint]
    parts += [f"fresh-{series}"] if series else []
    return ":".join([*parts, *([] if unit is None else [str(unit)])])
