from __future__ import annotations

import os
import subprocess
import sys
import time

import psutil
import pytest
from pyspark.sql import SparkSession

from millrace.udfs.worker.daemon import COMMON, PRELOAD, preload, wanted


def test_the_server_imports_what_every_worker_needs_and_what_it_was_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(PRELOAD, "torch,safetensors")

    assert wanted() == [*COMMON, "torch", "safetensors"]


def test_a_module_that_is_not_there_is_named_with_the_place_where_it_was_looked_for() -> None:
    with pytest.raises(ImportError, match="no_such_module.*\n.*path.*\n.*MILLRACE_PRELOAD"):
        preload(["no_such_module"])


def test_no_thread_that_a_fork_would_lose_runs_once_everything_is_imported() -> None:
    """Of native threads there is Arrow's allocator, which stops and starts its own around a fork."""
    program = (
        "import os; from millrace.udfs.worker.daemon import *; preload([*wanted(), 'torch', 'tokenizers'])\n"
        "import threading\n"
        "names = [open(f'/proc/self/task/{t}/comm').read().strip() for t in os.listdir('/proc/self/task')]\n"
        "print(threading.active_count(), sorted(names[1:]))"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
    )

    assert done.stdout.strip() in {"1 []", "1 ['jemalloc_bg_thd']"}


@pytest.mark.spark
def test_workers_come_from_the_server_with_torch_imported_and_owe_its_start(
    spark: SparkSession,
) -> None:
    """Asked of a server that no test has used: one more variable gives it a place of its own."""
    changed = {"MILLRACE_TEST": str(time.time()), PRELOAD: "torch"}
    own = {name: spark.sparkContext.environment.get(name) for name in changed}
    spark.sparkContext.environment.update(changed)
    before = time.time()

    def look(_: object) -> tuple[list[str], bool, float | None]:
        imported = "torch" in sys.modules  # before anything here asks for it
        from millrace.udfs.runtime.process import fresh_since

        parent = psutil.Process().parent()
        return parent.cmdline() if parent else [], imported, fresh_since(before)

    try:
        command, imported, born = spark.sparkContext.parallelize([0], 1).map(look).collect()[0]
    finally:
        for name, value in own.items():
            if value is None:
                del spark.sparkContext.environment[name]
            else:
                spark.sparkContext.environment[name] = value

    assert "millrace.udfs.worker.daemon" in command
    assert imported
    assert born is not None
    assert before - 0.05 <= born <= time.time()
