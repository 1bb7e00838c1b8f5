"""Results as `benches.compare` stores them, with figures that are easy to follow."""

from __future__ import annotations

from typing import Any

from benches import stored
from benches.contestants import CONTESTANTS, MILLRACE, PLAIN, PREDICT_BATCH
from benches.figures import Figures, with_speeds

MACHINE = {"cpu": "Some(R) CPU", "cores": 2, "memory_gb": 8.0}
VERSIONS = {"python": "3.11.7", "torch": "2.13.0"}


def a_round(steady_s: float, *, rows: int = 100, right: bool = True, **changes: Any) -> Figures:
    """One contestant's round: the stage takes twice the steady part, the process four times that."""
    return with_speeds(
        {
            "wall_s": 4 * steady_s,
            "cpu_s": 5 * steady_s,
            "stage_s": 2 * steady_s,
            "steady_s": steady_s,
            "stage_steady_s": steady_s,
            "first_prediction_s": 3.0,
            "peak_pss_bytes": 700_000_000,
            "mean_pss_bytes": 500_000_000,
            "peak_pss_bytes_of": {"driver": 100_000_000, "workers": 600_000_000},
            "rows": rows,
            "commit": "abc1234",
            "slots": 2,
            "answers": {"equal": right, "max_abs_difference": 0.0},
            **changes,
        },
        rows,
    )


def a_result(
    seconds: dict[str, list[float]], workload: str = "docs", **changes: dict[str, Any]
) -> Figures:
    """A contest in which each contestant had these steady seconds; ``changes`` are by contestant."""
    result = stored.empty("contest", workload, "small things", 100)
    result |= {"machine": MACHINE, "versions": VERSIONS}
    for name, each in seconds.items():
        assert name in CONTESTANTS
        result["runs"][name] = [a_round(one, **changes.get(name, {})) for one in each]
    return result


THREE = {PLAIN: [2.0, 11.0, 7.0], PREDICT_BATCH: [3.0, 13.0, 19.0], MILLRACE: [1.0, 5.0, 2.0]}
