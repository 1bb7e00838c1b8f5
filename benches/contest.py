"""One contestant, once, from nothing: a process of its own, its figures and its predictions."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benches import figures, outcome
from benches.contestants import PREDICT_BATCH, Contestant
from benches.figures import Figures
from benches.inputs import Made
from benches.outcome import Answers
from benches.process import ROOT, Failed, measured
from millrace.schemas.tables import CALIBRATIONS

CACHE = Path("build/bench")


def contest(
    contestant: Contestant,
    made: Made,
    *,
    slots: int | None = None,
    apart: bool = False,
    cache: Path = CACHE,
) -> tuple[Figures, Answers]:
    """Its figures and its predictions. ``apart``: each file is a partition of its own. Raises Failed."""
    output = (cache / "out" / made.workload.name / contestant.name).absolute()
    report = output.with_suffix(".json")
    shutil.rmtree(output, ignore_errors=True)
    report.unlink(missing_ok=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    if contestant.after:
        _copy_measured(output.with_name(contestant.after), output)
    slots = slots or os.cpu_count() or 1
    if not contestant.python.is_file():
        raise Failed(f"{contestant.name} has no environment yet: make bench-peers")
    told = {
        "task": made.workload.name,
        "input": made.input,
        "model": made.model,
        "output": output,
        "report": report,
        "slots": slots,
        "variant": contestant.variant,
    }
    flags = [text for key, value in told.items() for text in (f"--{key}", str(value))]
    command = [str(contestant.python), "-m", contestant.module, *flags]
    load_before = os.getloadavg()[0]
    used = measured(
        [*command, *(["--apart"] if apart else [])],
        cache / "logs" / made.workload.name / f"{contestant.name}.log",
    )
    own = json.loads(report.read_text("utf-8"))
    own |= _from_spark(contestant, made, output, own, slots)
    first_s = own.pop("first_prediction_at") - used.started_at
    all_figures = {
        **asdict(used),
        **own,
        "first_prediction_s": first_s,
        "load_average_before": load_before,
        "slots": slots,
        "commit": commit(),
    }
    answers = outcome.answers(_predictions(contestant, made, output), made.workload)
    return figures.with_speeds(_rounded(all_figures), made.rows), answers


def _copy_measured(earlier: Path, output: Path) -> None:
    """What an earlier run measured, beside nothing of what it wrote. Raises Failed."""
    if not (earlier / "runs").is_dir():
        raise Failed(f"{earlier.name} has to run before {output.name}")
    if (earlier / CALIBRATIONS.name).is_dir():  # a short run measures nothing
        shutil.copytree(earlier / CALIBRATIONS.name, output / CALIBRATIONS.name)


@contextmanager
def alone(cache: Path = CACHE) -> Iterator[None]:
    """While inside, nobody else measures with this cache. Raises Failed where somebody does."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failed("another benchmark is running here: wait for its end") from None
        yield


def commit() -> str:
    """The commit that ran, with a ``+`` where the engine's files differ from it."""
    git = ["git", "-C", str(ROOT)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "--short", "HEAD"], capture_output=True, check=True
        )
        changed = subprocess.run(
            [*git, "diff", "--quiet", "HEAD", "--", "udfs", "pipelines", "schemas"], check=False
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.decode().strip() + ("+" if changed.returncode else "")


def _predictions(contestant: Contestant, made: Made, output: Path) -> Path:
    is_ours = contestant.kind == "millrace"
    return output / (f"predictions_{made.workload.name}" if is_ours else "predictions")


def _from_spark(
    contestant: Contestant, made: Made, output: Path, own: Mapping[str, Any], slots: int
) -> Figures:
    """What a contestant that runs on Spark left in its logs and tables."""
    if contestant.name == PREDICT_BATCH:
        return {"executor_s": outcome.executor_s(output / "logs")}
    if contestant.kind != "millrace":
        return {}
    rows = outcome.meters(_predictions(contestant, made, output))
    laps = outcome.laps(rows)
    setup_s = laps["startup_s"] + laps["load_s"]
    return {
        "steady_s": outcome.steady_s(rows),
        "stage_steady_s": own["stage_s"] - setup_s / slots,
        "setup_s": setup_s,
        "worked_s": (laps["wall_s"] - setup_s) / slots,
        "load_s": laps["load_s"],
        "first_prediction_at": outcome.first_prediction_at(rows),
        "executor_s": outcome.executor_s(output / "_logs"),
        "laps": laps,
        "computed_with": outcome.runtimes(rows),
    }


def _rounded(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: round(v, 3) if isinstance(v, float) else v for k, v in values.items()}
