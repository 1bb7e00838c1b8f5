"""What was to be shown, what was measured, and whether that is enough."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benches import figures
from benches.contestants import CONTESTANTS, LATER, MILLRACE, PREDICT_BATCH
from benches.figures import STEADY, ratio

Results = Mapping[tuple[str, str], Mapping[str, Any]]  # (kind, workload) -> a result
BF16, FP32 = "millrace_torch_bf16", "millrace_fp32"
_FOUR_TIMES = 4.0


@dataclass(frozen=True)
class Target:
    """One figure with its bounds; ``measured`` is None where nothing was measured yet."""

    what: str
    measured: float | None
    least: float | None = None
    most: float | None = None
    note: str = ""

    @property
    def is_met(self) -> bool | None:
        """Whether the figure is within its bounds; None where there is none."""
        if self.measured is None:
            return None
        above = self.least is None or self.measured >= self.least
        return above and (self.most is None or self.measured <= self.most)

    @property
    def asked(self) -> str:
        """The bounds, as the table shows them."""
        bounds = [
            *([f"≥ {self.least:g}"] if self.least is not None else []),
            *([f"≤ {self.most:g}"] if self.most is not None else []),
        ]
        return ", ".join(bounds)


def targets(results: Results) -> list[Target]:
    """All of them, with what the stored results say."""
    texts, images = (results.get(("contest", name), {"runs": {}}) for name in ("docs", "digits"))
    found = [
        *_speeds("texts", texts, best=0.95, udf=9.5),
        Target(
            "texts, torch alone in bf16: steady rows/s ÷ its hand-tuned loop",
            ratio(texts, BF16, "tuned_bf16", STEADY),
            least=0.95,
        ),
        Target(
            "texts, `fp32`: steady rows/s ÷ sorted fp32 loop",
            ratio(texts, FP32, "tuned_fp32", STEADY),
            least=0.97,
        ),
        Target(
            "texts, `fp32`: steady rows/s ÷ `predict_batch_udf`",
            ratio(texts, FP32, PREDICT_BATCH, STEADY),
            least=3.2,
        ),
        *_speeds("images", images, best=0.90, udf=3.9),
    ]
    for name, result in (("texts", texts), ("images", images)):
        found += [*_whole_process(name, result), *_cost(name, result)]
    for name, key in (("texts", "docs"), ("images", "digits")):
        found += _scaling(name, results.get(("scaling", key), {"runs": {}}))
    return found


def _speeds(name: str, result: Mapping[str, Any], *, best: float, udf: float) -> list[Target]:
    loop = figures.best_loop(result)
    which = f"best: {CONTESTANTS[loop].title}" if loop else ""
    return [
        Target(
            f"{name}, `auto`: steady rows/s ÷ best loop",
            ratio(result, MILLRACE, loop, STEADY),
            least=best,
            note=which,
        ),
        Target(
            f"{name}, `auto`: steady rows/s ÷ `predict_batch_udf`",
            ratio(result, MILLRACE, PREDICT_BATCH, STEADY),
            least=udf,
        ),
    ]


def _whole_process(name: str, result: Mapping[str, Any]) -> list[Target]:
    """Against every peer, from start to committed output; the worst of them decides."""
    against = figures.against_peers(result, MILLRACE)
    each = ", ".join(f"{CONTESTANTS[n].title} {value:.2f}" for n, value in against.items())
    return [
        Target(
            f"{name}, whole process: our seconds ÷ the fastest peer's",
            max(against.values(), default=None),
            most=1.0,
            note=each,
        )
    ]


def _cost(name: str, result: Mapping[str, Any]) -> list[Target]:
    """Start-up, memory, answers and conversion of one workload."""
    runs = result["runs"]
    right = {
        one: 1.0 if figures.is_right(result, one) else 0.0
        for one in (MILLRACE, FP32)
        if runs.get(one)
    }
    return [
        *(
            Target(
                f"{name}, {run}: time from start to first prediction ÷ `predict_batch_udf`'s",
                ratio(result, ours, PREDICT_BATCH, "first_prediction_s"),
                most=0.6,
            )
            for run, ours in (
                ("a model's first run, which measures", MILLRACE),
                ("a later run", LATER),
            )
        ),
        Target(
            f"{name}: peak memory of the process tree ÷ `predict_batch_udf`'s",
            ratio(result, MILLRACE, PREDICT_BATCH, "peak_pss_bytes"),
            most=0.5,
        ),
        Target(
            f"{name}, `auto`: all rows within the stated tolerance (1: yes)",
            right.get(MILLRACE),
            least=1.0,
            note=_distance(runs.get(MILLRACE)),
        ),
        Target(
            f"{name}, `fp32`: all rows equal to the plain loop to 1e-5 (1: yes)",
            right.get(FP32),
            least=1.0,
            note=_distance(runs.get(FP32)),
        ),
        Target(
            f"{name}: share of a worker's time spent on conversion",
            figures.conversion_share(result, MILLRACE) if runs.get(MILLRACE) else None,
            most={"texts": 0.005, "images": 0.03}[name],
        ),
    ]


def _distance(rounds: Sequence[Mapping[str, Any]] | None) -> str:
    """The worst of all rounds, in the measure that the answers have."""
    if not rounds:
        return ""
    answers = [one["answers"] for one in rounds]
    worst: dict[str, Callable[..., Any]] = {
        "min_cosine": min,
        "equal_labels": min,
        "max_abs_difference": max,
    }
    told = []
    for name, pick in worst.items():
        values = [one[name] for one in answers if one.get(name) is not None]
        told += [f"{name.replace('_', ' ')} {pick(values):.6g}"] if values else []
    return ", ".join(told)


def _scaling(name: str, result: Mapping[str, Any]) -> list[Target]:
    return [
        Target(
            f"{name}, rows N → 4N: workers' time beyond start-up grows by",
            _grown(result, "rows_1x", "rows_4x", "worked_s"),
            least=0.95 * _FOUR_TIMES,
            most=1.05 * _FOUR_TIMES,
        ),
        Target(
            f"{name}, 8 → 200 partitions: time beyond start-up, commit included, grows by",
            _grown(result, "rows_4x", "partitions_200", "stage_steady_s"),
            most=1.10,
        ),
        Target(
            f"{name}: memory that a second worker adds ÷ the first's",
            added_by_second_worker(result),
            most=0.25,
        ),
    ]


def _grown(result: Mapping[str, Any], small: str, large: str, figure: str) -> float | None:
    runs = result["runs"]
    if not runs.get(small) or not runs.get(large):
        return None
    before, after = figures.medians(runs[small]), figures.medians(runs[large])
    return float(after[figure] / before[figure])


def added_by_second_worker(result: Mapping[str, Any]) -> float | None:
    """Peak PSS of two workers and what serves them, less that of one, ÷ that of one."""
    runs = result["runs"]
    if not runs.get("workers_1") or not runs.get("rows_1x"):
        return None
    one, two = (
        figures.medians(runs[name])["peak_pss_bytes_of"]["workers"]
        for name in ("workers_1", "rows_1x")
    )
    return float((two - one) / one)
