"""Names for runs, fingerprints and ledger records; none of them depends on a clock."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def digest(value: Any) -> str:
    """sha256 (hex) of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def fingerprint(
    *, job: str, pinned: str, contract: dict[str, Any], model_digest: str, settings: dict[str, Any]
) -> str:
    """sha256 (hex) of everything that decides the results, and of nothing that only changes speed."""
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
    """A run's name: the job's, the start of its fingerprint, and a nonce that tells reruns apart."""
    return f"{job}-{fingerprint[:8]}-{nonce}"


def transaction(fingerprint: str, series: int, unit: int | None = None) -> str:
    """The Delta transaction (``txnAppId``) under which a unit's rows are committed, once; None: the run's.

    ``series`` is 0 for a fingerprint's first run, and counts those that were asked for afresh.
    """
    parts = ["millrace", fingerprint]
    parts += [f"fresh-{series}"] if series else []
    return ":".join([*parts, *([] if unit is None else [str(unit)])])
