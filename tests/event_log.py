"""Spark's event log read by code of the tests' own: what tasks and executors took, and what that comes to.

Nothing here is shared with what makes the ledger: events are read as Spark documents them, prices from
the book's own words.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

Event = dict[str, Any]


@dataclass(frozen=True)
class Ended:
    """An attempt of a task that has ended, in milliseconds."""

    task: int
    place: tuple[int, int]  # stage, partition
    stage_attempt: int
    reason: str  # Spark's: Success, TaskKilled, ...
    is_copy: bool  # started beside another one for that one's slowness
    launched_ms: int
    finished_ms: int
    ms: int  # executor run time; where Spark does not tell it, from launch to end


def events(log: Path) -> Iterator[Event]:
    """Each line of a log; the last one may be in the making."""
    for line in log.read_text("utf-8").splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        event["Event"] = event["Event"].rpartition(".")[2].removeprefix("SparkListener")
        yield event


def log_of(folder: Path, application: str) -> Path:
    """The log of an application, ended or not."""
    (found,) = folder.glob(f"{application}*")
    return found


def stages(log: Path, run_id: str | None = None) -> set[int]:
    """The stages that a run asked for; without one, all of the application's."""
    found = set[int]()
    for event in events(log):
        tags = event.get("Properties", {}).get("spark.job.tags", "")
        if event["Event"] == "JobStart" and (run_id is None or run_id in tags):
            found.update(event["Stage IDs"])
    return found


def began(log: Path, run_id: str | None = None) -> set[int]:
    """The ids of all tasks that began."""
    mine = stages(log, run_id)
    return {
        event["Task Info"]["Task ID"]
        for event in events(log)
        if event["Event"] == "TaskStart" and event["Stage ID"] in mine
    }


def ended(log: Path, run_id: str | None = None) -> list[Ended]:
    """The attempts that ended, in that order. One whose output was lost later is told again: not here."""
    mine, found = stages(log, run_id), []
    for event in events(log):
        if event["Event"] != "TaskEnd" or event["Stage ID"] not in mine:
            continue
        info, reason = event["Task Info"], event["Task End Reason"]
        if reason["Reason"] == "Resubmitted":
            continue
        told = (event.get("Task Metrics") or {}).get("Executor Run Time", 0)
        found.append(
            Ended(
                info["Task ID"],
                (event["Stage ID"], info["Partition ID"]),
                event["Stage Attempt ID"],
                reason["Reason"],
                info["Speculative"],
                info["Launch Time"],
                info["Finish Time"],
                told or info["Finish Time"] - info["Launch Time"],
            )
        )
    return found


def wasted_ms(attempts: list[Ended]) -> Counter[str]:
    """Milliseconds that gave nothing, by kind."""
    found, done = Counter[str](), set[tuple[int, int]]()
    for one in attempts:
        if one.reason == "Success":
            if one.place in done:
                found["recomputed"] += one.ms
            done.add(one.place)
        elif one.is_copy or any(_beside(one, other) for other in attempts):
            found["speculative"] += one.ms
        else:
            found["killed" if one.reason == "TaskKilled" else "failed"] += one.ms
    return found


def _beside(one: Ended, other: Ended) -> bool:
    """Whether the other did the same work and did it well, from before this one's end on."""
    is_same = (one.place, one.stage_attempt) == (other.place, other.stage_attempt)
    return is_same and other.reason == "Success" and other.launched_ms < one.finished_ms


def core_ms_held(log: Path, began_ms: int, closed_ms: int) -> int:
    """Core-milliseconds that were held in that time: by all executors, and in a cluster by the driver."""
    cores, spans, master = dict[str, int](), dict[str, list[int]](), ""
    for event in events(log):
        if event["Event"] == "ExecutorAdded":
            name, at = event["Executor ID"], event["Timestamp"]
            cores[name] = event["Executor Info"]["Total Cores"]
            spans[name] = [began_ms if name == "driver" else max(at, began_ms), closed_ms]
        elif event["Event"] == "ExecutorRemoved":
            spans[event["Executor ID"]][1] = min(closed_ms, event["Timestamp"])
        elif event["Event"] == "EnvironmentUpdate":
            master = event["Spark Properties"]["spark.master"]
    of_driver = 0 if master.startswith("local[") else closed_ms - began_ms
    return of_driver + sum(
        cores[name] * max(0, until - since) for name, (since, until) in spans.items()
    )


def price_of(core_ms: int, book: Path, sku: str) -> Decimal:
    """What so much of a machine costs: its hour's price, by its cores."""
    told = yaml.safe_load(book.read_text("utf-8"))["instances"]
    (one,) = (entry for entry in told if entry["sku"] == sku)
    hours = Decimal(core_ms) / 1000 / 3600
    return hours / one["vcpus"] * Decimal(str(one["price_per_hour"]))
