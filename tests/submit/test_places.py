"""One job in several places: the same predictions, and a ledger that says what it cost in each."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import clusters
from tests.helpers import CLASSES, image_table, images, job_of, pixel_mlp, rows, write_parquet
from tests.scheduled.home import airflow
from tests.submitted import PATIENCE_S, ROOT, submit
from tests.traps import set_traps

pytestmark = [pytest.mark.spark, pytest.mark.faults, pytest.mark.timeout(3 * PATIENCE_S)]
# More rows and a wider network, to compare times: 60,000 and 2,048 are a minute of computing.
ROWS = int(os.environ.get("MILLRACE_TEST_ROWS", "1000"))
WIDTH = int(os.environ.get("MILLRACE_TEST_WIDTH", "8"))
FILES, REFUSED = 4, 3
SUBMITTED = ("local[2,4]", "local-cluster[2,1,1024]", "standalone")
SCORED = "SELECT id, label, score, probabilities, error FROM predictions_tiny ORDER BY id"


@pytest.fixture(scope="module")
def job_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job over images, three of which have no pixels; each place computes it in the same way."""
    folder = tmp_path_factory.mktemp("job")
    options = {"hidden": [WIDTH, WIDTH], "outputs": CLASSES}
    model = pixel_mlp(folder / "model", options=options)
    pixels: list[bytes | None] = [*images(ROWS - REFUSED), *[None] * REFUSED]
    write_parquet(folder / "input", image_table(pixels), files=FILES)
    job = job_of(folder, model).model_dump(mode="json", exclude_unset=True)
    job["engine"] = {"backend": "torch", "precision": "fp32"}
    job["cost"]["prices"] = str(ROOT / "conf" / "prices" / "example.yaml")
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    set_traps(folder / "own")
    return folder / "job.yaml"


@pytest.fixture(scope="module")
def standalone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A master's address."""
    with clusters.standalone(tmp_path_factory.mktemp("standalone")) as url:
        yield url


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, bare_python: Path) -> Iterator[str]:
    """A Connect server's address; its workers' Python has no Millrace."""
    pytest.importorskip("grpc", reason="the connect extra (gRPC) is not installed")
    with clusters.connect(set_traps(tmp_path_factory.mktemp("connect")), bare_python) as url:
        yield url


def run_remote(
    url: str, job_file: Path, lake: Path, *words: str, command: str = "run"
) -> subprocess.CompletedProcess[str]:
    """``millrace run`` in a process of its own, through a Connect server."""
    started = [
        *(str(Path(sys.executable).with_name("millrace")), command, str(job_file), "--json"),
        *("--set", f"output.path={lake}", *words),
    ]
    return subprocess.run(
        started, capture_output=True, text=True, cwd=job_file.parent / "own", timeout=PATIENCE_S,
        check=False, env={**os.environ, "SPARK_REMOTE": url},
    )  # fmt: skip


@pytest.fixture(scope="module")
def here(
    package: Path, bare_python: Path, job_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], Path]:
    """What the run on this machine told, and its lake."""
    lake = tmp_path_factory.mktemp("here") / "lake"
    done = submit(SUBMITTED[0], package, bare_python, job_file, {"output.path": lake})
    return summary_of(done), lake


def summary_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def digest(lake: Path) -> str:
    """Of the predictions in the order of their keys, without what tells one run from another."""
    return hashlib.sha256(json.dumps(rows(lake, SCORED)).encode()).hexdigest()


def useful(lake: Path) -> dict[str, int]:
    """What the ledger's useful rows come to: rows in and out, bytes; and, apart, milliseconds."""
    (total,) = rows(
        lake,
        "SELECT sum(x_RowsIn) AS rows_in, sum(x_RowsOut) AS rows_out, sum(x_Bytes) AS bytes, "
        "sum(x_SlotMs) AS ms FROM ledger WHERE x_CostKind = 'useful' AND SkuMeter = 'Core'",
    )
    return {name: int(value) for name, value in total.items()}


def is_as_here(place: str, lake: Path, first_lake: Path) -> None:
    """The same predictions, for the same useful work; how long it took is told, not judged."""
    assert digest(lake) == digest(first_lake)
    there, first = useful(lake), useful(first_lake)
    print(f"useful ms: {place} {there.pop('ms')}, {SUBMITTED[0]} {first.pop('ms')}")
    assert there == first
    assert there["rows_out"] == ROWS - REFUSED


@pytest.mark.parametrize("place", SUBMITTED[1:])
def test_a_submitted_job_gives_the_same_predictions_on_executors_of_their_own(
    place: str, package: Path, bare_python: Path, job_file: Path, tmp_path: Path,
    here: tuple[dict[str, Any], Path], request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    master = request.getfixturevalue(place) if place == "standalone" else place
    lake = tmp_path / "lake"
    small = ("--executor-memory", "640m", "--conf", "spark.executor.cores=1",
             "--conf", "spark.executor.memoryOverhead=256m")  # fmt: skip

    done = submit(master, package, bare_python, job_file, {"output.path": lake}, *small,
                  conf="local" if place != "standalone" else "standalone")  # fmt: skip

    summary, (first, first_lake) = summary_of(done), here
    assert (summary["scored"], summary["quarantined"]) == (ROWS - REFUSED, REFUSED)
    is_as_here(place, lake, first_lake)
    assert summary["books_closed"] is True
    assert summary["fingerprint"] == first["fingerprint"]


def test_a_dag_gives_the_same_predictions(
    job_file: Path, tmp_path: Path, here: tuple[dict[str, Any], Path]
) -> None:
    (first, first_lake), lake = here, tmp_path / "lake"
    entry = {"job": str(job_file), "start": "2026-11-01", "folder": str(tmp_path),
             "set": {"output.path": str(lake)}, "validate": False}  # fmt: skip
    with airflow(tmp_path) as home:
        home.write(**entry)
        told = home.command("dags", "test", "millrace_tiny", "2026-11-01").stdout

    assert lake.is_dir(), told[-6000:]
    is_as_here("Airflow", lake, first_lake)
    (run,) = rows(lake, "SELECT state, fingerprint, books_closed FROM runs_current")
    assert run == {"state": "done", "fingerprint": first["fingerprint"], "books_closed": True}


@pytest.fixture(scope="module")
def remote(
    server: str, job_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], Path]:
    """What the run through the Connect server told, and its lake."""
    lake = tmp_path_factory.mktemp("remote") / "lake"
    return summary_of(run_remote(server, job_file, lake)), lake


def test_a_connect_server_gives_the_same_predictions_and_a_ledger_of_slots_held(
    here: tuple[dict[str, Any], Path], remote: tuple[dict[str, Any], Path]
) -> None:
    (first, first_lake), (summary, lake) = here, remote

    assert (summary["scored"], summary["quarantined"]) == (ROWS - REFUSED, REFUSED)
    is_as_here("Connect", lake, first_lake)
    assert summary["fingerprint"] == first["fingerprint"]
    assert summary["books_closed"] is None
    assert [text for text in summary["warnings"] if "task times" in text] == [
        "the ledger has the meters alone: Spark's task times could not be read"
    ]
    kinds = {row["x_CostKind"]: row["ms"] for row in rows(
        lake, "SELECT x_CostKind, sum(x_SlotMs) AS ms FROM ledger WHERE SkuMeter = 'Core' GROUP BY x_CostKind")}  # fmt: skip
    (held,) = rows(lake, "SELECT max(date_part('epoch', books_closed_at)) - "
                   "min(date_part('epoch', held_since)) AS s FROM runs")  # fmt: skip
    assert sum(kinds.values()) == pytest.approx(2 * 1000 * held["s"], rel=0.01)


def test_through_connect_exit_codes_are_the_same_a_second_run_scores_nothing_and_plan_is_refused(
    server: str, job_file: Path, tmp_path: Path, remote: tuple[dict[str, Any], Path]
) -> None:
    first, lake = remote
    strict = ("--set", "contract.max_quarantined=2")

    refused = run_remote(server, job_file, tmp_path / "other", *strict)
    again = summary_of(run_remote(server, job_file, lake))

    planned = run_remote(server, job_file, lake, command="plan")

    assert planned.returncode == 2, planned.stdout[-2000:] + planned.stderr[-2000:]
    assert "new workers" in json.loads(planned.stdout.splitlines()[-1])["error"]
    assert refused.returncode == 3, refused.stderr[-2000:]
    assert json.loads(refused.stdout.splitlines()[-1])["exit_code"] == 3
    assert again["run_id"] == first["run_id"]
    assert rows(lake, "SELECT count(*) AS n FROM predictions_tiny") == [{"n": ROWS - REFUSED}]
