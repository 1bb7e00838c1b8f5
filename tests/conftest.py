from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from pyspark.sql import SparkSession

from millrace.pipelines.console import structured_log
from millrace.pipelines.spark.session import open_session

if "PYTEST_XDIST_WORKER" in os.environ and not hasattr(sys, "ps1"):
    # Its main module has no file: pyspark.sql.connect, which Great Expectations imports, takes that for
    # a doctest of its own, and ends the process where gRPC is not installed.
    sys.ps1 = ""

# Machines are shared: how long an example takes says nothing of what it shows.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


_OUT_OF_TIME = "not run: the time for tests is over"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Start no test after TESTS_END_AT, in seconds since 1970: `.ci/run` sets it on a machine of any speed."""
    if time.time() >= float(os.environ.get("TESTS_END_AT", "inf")):
        pytest.skip(_OUT_OF_TIME)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    skipped = terminalreporter.stats.get("skipped", ())
    if left := sum(_OUT_OF_TIME in str(report.longrepr) for report in skipped):
        terminalreporter.write_line(
            f"NOT RUN, the time is over: {left} tests", yellow=True, bold=True
        )


_SHARED: dict[str, Any] = {}  # the session of `spark`, once a test has asked for it


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """One real session for all tests: two slots, four attempts a task."""
    session = open_session(
        "millrace-tests", tmp_path_factory.mktemp("spark-logs"), master="local[2,4]"
    )
    _SHARED.update(session=session, settings=dict(session.conf.getAll))
    yield session
    _SHARED.clear()
    session.stop()


@pytest.fixture(autouse=True, scope="module")
def _settings_stay_as_they_were() -> Iterator[None]:
    """A setting that a module leaves changed in the shared session would decide the next module's tests."""
    yield
    if session := _SHARED.get("session"):
        before = _SHARED["settings"]
        for name, value in before.items() - dict(session.conf.getAll).items():
            session.conf.set(name, value)


@pytest.fixture(autouse=True)
def _no_log_stays_asked_for() -> Iterator[None]:
    """A command asks for its log in the environment, where the next test would find it."""
    yield
    os.environ.pop(structured_log.VARIABLE, None)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small network over pixels."""
    from tests.helpers import pixel_mlp  # which imports torch: not every test needs it

    return pixel_mlp(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def score(spark: SparkSession) -> Callable[..., Any]:
    """Run a job in the shared session, as a user does, without a word."""
    from millrace.pipelines.console.progress import Progress
    from millrace.pipelines.run.runner import run

    return lambda job, **how: run(spark, job, Progress(quiet=True), **how)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data beside the project; tests that need it skip where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real data folder (../shared/data) is not on this machine")
    return folder
