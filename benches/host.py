"""The host process on a CPU: what 1, 2, 4 and 8 clients get together, against a bare loop.

  python -m benches.host --only docs

The bare loop has the model in its own process, with the same rows, batches and threads; each client
is a process too. Rows are decoded before the clock runs: what is measured is the host.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benches.inputs import MODELS, ROWS
from benches.machine import cpu_model, machine, slug, versions
from benches.workloads import WORKLOADS
from millrace.udfs.engine.batch_sizing import FixedSizer, sizer_for
from millrace.udfs.engine.batching import cut
from millrace.udfs.host.address import HostSpec
from millrace.udfs.host.client import hosted
from millrace.udfs.models.model_loading import digest_of, load
from millrace.udfs.runtime.plan import Runtime

CLIENTS = (0, 1, 2, 4, 8)  # 0: the bare loop
LEAST = 0.95  # of one client's rate, with four
WARM_UP = 3  # batches that are not counted


@dataclass(frozen=True)
class Work:
    """What everybody computes: so many rows, in batches that are dealt out to the clients."""

    workload: str
    rows: int
    batch_rows: int | None
    batch_cost: int | None  # padded tokens, where lengths differ


WORK = {
    "docs": Work("docs", 128, None, 2048),
    "digits": Work("digits", 24_000, 256, None),
}


def measure(work: Work, rounds: int, cache: Path) -> dict[str, Any]:
    """Rows a second with each number of clients, ``rounds`` times in turn, and the medians."""
    folder = cache / "models" / work.workload
    MODELS[work.workload](folder)
    rates: dict[int, list[float]] = {clients: [] for clients in CLIENTS}
    with tempfile.TemporaryDirectory(prefix="mb-") as run:
        for _ in range(rounds):
            for clients in CLIENTS:
                rates[clients].append(_rate(work, folder, Path(run), clients))
                print(f"{work.workload} {clients}: {rates[clients][-1]:,.0f} rows/s", flush=True)
    middle = {clients: median(found) for clients, found in rates.items()}
    return {
        **asdict(work),
        "rounds": rounds,
        "threads": 1,
        "rows_per_s": {_name(clients): round(rate, 1) for clients, rate in middle.items()},
        "each_round": {_name(n): [round(one, 1) for one in found] for n, found in rates.items()},
        "of_bare_loop": {_name(n): round(middle[n] / middle[0], 3) for n in CLIENTS[1:]},
        "four_clients_of_one": round(middle[4] / middle[1], 3),
        "least": LEAST,
        "versions": versions(),
        "machine": machine(),
    }


def _name(clients: int) -> str:
    return f"{clients} clients" if clients else "bare loop"


def _rate(work: Work, folder: Path, run: Path, clients: int) -> float:
    spawn = multiprocessing.get_context("spawn")
    many = max(1, clients)
    place = HostSpec(run, os.getpid(), "cpu", 4 << 30) if clients else None
    with spawn.Manager() as manager, spawn.Pool(many) as pool:
        ready = manager.Barrier(many)
        asked = [(work, folder, place, number, many, ready) for number in range(many)]
        found = pool.starmap(_client, asked, 1)
    began, ended = min(one[1] for one in found), max(one[2] for one in found)
    return sum(one[0] for one in found) / (ended - began)


def _client(
    work: Work, folder: Path, place: HostSpec | None, number: int, many: int, ready: Any
) -> tuple[int, float, float]:
    """Rows that one client got answered, and when it began and ended."""
    runtime = Runtime("cpu", threads=1)
    digest = digest_of(folder)
    model = hosted(folder, digest, runtime, place) if place else load(folder, digest, runtime)
    batches = _batches(work, model)[number::many]
    for values in batches[:WARM_UP]:
        model.predict(values)
    ready.wait()
    began = time.monotonic()
    rows = sum(len(next(iter(model.predict(values).values()))) for values in batches)
    return rows, began, time.monotonic()


def _batches(work: Work, model: Any) -> list[Any]:
    """The rows as the engine would batch them, in an order that deals alike shares to all clients."""
    table = ROWS[work.workload](work.rows).select(list(model.card.signature.inputs))
    examples = model.decode(table.combine_chunks().to_batches()[0])
    sizer = sizer_for(work.batch_rows, work.batch_cost)
    made = [examples.take(index) for index in cut(len(examples.rows), sizer, examples.lengths)]
    return made if isinstance(sizer, FixedSizer) else _dealt(made)


def _dealt(batches: list[Any]) -> list[Any]:
    """Long and short mixed, by a seed: else one client would have the longest of each turn."""
    return [batches[index] for index in np.random.default_rng(0).permutation(len(batches))]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write ``benches/results/host-<workload>-<cpu>.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=sorted(WORK), nargs="*", default=sorted(WORK))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cache", type=Path, default=Path("build/bench"))
    parser.add_argument("--out", type=Path, default=Path("benches/results"))
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.only:
        found = measure(WORK[name], given.rounds, given.cache)
        path = given.out / f"host-{name}-{slug(cpu_model())}-{os.cpu_count()}cores.json"
        path.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
        print(f"four clients: {found['four_clients_of_one']} of one; written to {path.name}")


if __name__ == "__main__":
    assert set(WORK) <= set(WORKLOADS)
    main()
