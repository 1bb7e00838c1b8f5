"""A session starts in a thread of its own, while the command imports what it needs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
_CODE = """
import json, sys, threading, time
from pathlib import Path
from millrace.pipelines.spark.job_session import session_for
from millrace.schemas.config import Job
from millrace.schemas.yaml_file import load

before = {name.partition(".")[0] for name in sys.modules}
main, elsewhere = threading.get_ident(), []

def heard(event, arguments):
    if event == "import" and threading.get_ident() != main:
        elsewhere.append(arguments[0])

job = load(Path("conf/jobs/digits.yaml"), Job, overrides=["output.path=" + sys.argv[1]])
sys.addaudithook(heard)
with session_for(job, master="local[2,4]", importing=["millrace.pipelines.score"]) as spark:
    ready = "millrace.pipelines.score" in sys.modules and "great_expectations" in sys.modules
    tracker = spark.sparkContext.statusTracker()
    ends = time.monotonic() + 60
    while (tracker.getActiveJobsIds() or not tracker.getJobIdsForGroup()) and time.monotonic() < ends:
        time.sleep(0.1)
    print(json.dumps({
        "before": sorted(before & {"torch", "great_expectations", "deltalake", "pandas"}),
        "ready": ready,
        "elsewhere": elsewhere,
        "jobs": len(tracker.getJobIdsForGroup()),
    }))
"""


@pytest.mark.slow
def test_spark_starts_before_the_rest_is_imported_and_its_thread_imports_nothing(
    tmp_path: Path,
) -> None:
    """Two threads that import at once may find each other's modules half made."""
    done = subprocess.run(
        [sys.executable, "-c", _CODE, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["before"] == []
    assert told["ready"]
    assert set(told["elsewhere"]) <= {
        "pyspark_connect"
    }  # a name that PySpark tries, and that is not there
    assert told["jobs"] >= 1  # what the workers are forked from has been started


LOUD = """
import logging, sys, warnings
from pathlib import Path
from millrace.pipelines.spark import session
if sys.argv[2:] == ["routed"]:
    session._log_python_to(Path(sys.argv[1]))
logging.warning("from the root logger")
warnings.warn("from a library")
import great_expectations as gx
gx.get_context(mode="ephemeral")
"""


def test_what_libraries_log_and_warn_of_is_in_the_log_and_not_on_the_terminal(
    tmp_path: Path,
) -> None:
    def said(*words: str) -> str:
        command = [sys.executable, "-c", LOUD, str(tmp_path / "spark.log"), *words]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        return done.stdout + done.stderr

    told = ["from the root logger", "from a library", "Created temporary directory"]
    loud = said()
    assert all(one in loud for one in told)  # the libraries still do it
    assert said("routed") == ""
    log = (tmp_path / "spark.log").read_text()
    assert all(one in log for one in told)
