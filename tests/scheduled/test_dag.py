"""The DAG, in a real Airflow: all of its steps, its two gates, its alert, and what an exit code becomes."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chaos.driven import table
from tests.docs.test_snippets import ROOT, blocks, commands
from tests.scheduled.home import BIN, Airflow, airflow, environment_made
from tests.scheduled.jobs import DAYS, ROWS, daily_job

pytestmark = [pytest.mark.spark, pytest.mark.faults]
PAGE = {b.title: b for b in blocks(ROOT / "docs" / "AIRFLOW.md") if b.title}
EXAMPLE_HOOK = "https://example.com/hook"


@contextmanager
def hook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A webhook on this machine: its URL, and the objects that it was posted."""
    posted: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            posted.append(json.loads(self.rfile.read(length)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *words: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook", posted
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def tried(home: Airflow, day: str) -> tuple[dict[str, str], str]:
    """What ``airflow dags test`` of that day, as the page has it, came to: each task's state, its output."""
    ((_, *words),) = commands(PAGE["try"])
    done = home.command(*[day if word == DAYS[0] else word for word in words])
    rows = home.rows(
        "SELECT task_id, t.state FROM task_instance t JOIN dag_run r USING (dag_id, run_id) "
        f"WHERE r.logical_date LIKE '{day}%' ORDER BY t.start_date IS NULL, t.start_date"
    )
    return {row["task_id"]: row["state"] for row in rows}, done.stdout


def entry(folder: Path, budget: str, **more: Any) -> dict[str, Any]:
    """The daily job with a budget, as an entry of dags.yaml."""
    prices = str(ROOT / "conf" / "prices" / "example.yaml")
    job = daily_job(folder, cost={"prices": prices, "instance": "laptop", "budget": budget})
    sets = {"source.path": "input/{{ ds }}"}
    return {"job": str(job), "start": DAYS[0], "folder": str(folder), "set": sets, **more}


@pytest.mark.timeout(900)
def test_a_dag_run_passes_its_gates_scores_the_day_and_tells_the_asset(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    with airflow(tmp_path) as home:
        home.write(**entry(tmp_path, "5"))
        steps, told = tried(home, DAYS[0])
        assert set(steps.values()) == {"success"}, told[-6000:]
        assert list(steps) == ["preflight", "validate", "plan", "run", "publish"]
        (event,) = home.rows("SELECT extra FROM asset_event")
        (run,) = {row["run_id"] for row in table(lake, "predictions_digits")}
        extra = json.loads(event["extra"])
        assert (extra["run_id"], extra["scored"], extra["lake"]) == (run, ROWS, str(lake))
        assert set(extra) >= _listed_totals()
        assert "MILLRACE_ALERT" not in told


@pytest.mark.timeout(900)
def test_a_gate_that_does_not_open_ends_the_dag_run_at_once_and_alerts(tmp_path: Path) -> None:
    with airflow(tmp_path) as home, hook() as (url, posted):
        for words in commands(PAGE["alert"]):
            added = home.command(*[word.replace(EXAMPLE_HOOK, url) for word in words[1:]])
            assert added.returncode == 0, added.stdout
        home.write(**entry(tmp_path, "0.0000000001", validate=False))

        steps, told = tried(home, "2026-11-09")
        assert (steps["preflight"], steps["run"]) == ("failed", "upstream_failed"), told[-6000:]
        assert "source.path does not exist" in posted[-1]["error"]
        assert "correct source.path" in posted[-1]["error"]
        assert f"MILLRACE_ALERT {json.dumps(posted[-1], sort_keys=True)}" in told

        steps, told = tried(home, DAYS[1])
        assert (steps["plan"], steps["run"]) == ("failed", "upstream_failed"), told[-6000:]
        assert "exceeds the budget of 0.0000000001 USD" in posted[-1]["error"]
        assert (posted[-1]["task"], len(posted)) == ("plan", 2)
        assert table(tmp_path / "lake", "predictions_digits") == []


def _listed_totals() -> set[str]:
    """What the page says that an asset's event has."""
    text = (ROOT / "docs" / "AIRFLOW.md").read_text("utf-8")
    sentence = text.partition("totals as extra:")[2].partition(". ")[0]
    return set(sentence.replace("`", "").replace("\n", " ").replace(" ", "").split(","))


def outcomes(*events: dict[str, Any]) -> dict[str, Any]:
    environment_made()
    done = subprocess.run(
        [BIN / "python", ROOT / "tests" / "scheduled" / "outcomes.py", json.dumps(events)],
        capture_output=True, text=True, check=True, timeout=120,
        env={"PYTHONPATH": str(ROOT / "deploy" / "airflow"), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_an_exit_code_decides_whether_and_when_airflow_tries_again() -> None:
    refused = {"state": "refused", "detail": "GateRefused: 5 rows"}
    stopped = {"state": "stopped", "detail": "BudgetExceeded: forecast"}
    signalled = {"state": "stopped", "detail": "Terminated: stopped by SIGTERM at a safe point"}
    by_hand = {"state": "stopped", "detail": "KeyboardInterrupt: stopped by Ctrl-C at a safe point"}
    found = outcomes(refused, stopped, signalled, by_hand, {"state": "started", "detail": None})

    codes = found["codes"]
    assert {codes[code][0] for code in ("2", "3", "4", "130")} == {"AirflowFailException"}
    assert {codes[code][0] for code in ("1", "5", "-9")} == {"Resumable"}
    assert all("why; got: this; next: that" in codes[code][1] for code in ("2", "4", "6"))
    assert [codes[code][2:] for code in ("5", "6")] == [["default", None], ["retry", 120.0]]
    assert found["in_message"][0] == 3
    assert found["in_message"][1]["error"] == "why"
    assert (found["killed"], found["elsewhere"]) == (-9, None)
    assert found["by_event"] == [5, 3, 4, 5, 130, 5]


def test_what_a_row_may_say_is_in_no_exception_of_airflows_and_so_in_no_alert() -> None:
    detail = "TooManyFailed: too many rows\n  got:     33, the first with SECRET\n  next:    look"
    found = outcomes({"state": "failed", "detail": detail})

    for code in ("1", "3", "5", "-9"):
        assert found["codes"][code][1].endswith("why; next: that")
    assert found["told_by_event"][-1].endswith("TooManyFailed: too many rows; next: look")


def said_by_dags(folder: Path, entries: Any, script: str) -> Any:
    """What a script that imports the DAGs of these entries prints, in Airflow's Python."""
    environment_made()
    (folder / "dags.yaml").write_text(yaml.safe_dump(entries))
    done = subprocess.run(
        [BIN / "python", "-c", script], capture_output=True, text=True, check=False, timeout=120,
        env={**Airflow(folder).environment, "PYTHONPATH": str(ROOT / "deploy" / "airflow")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_entries_on_the_page_and_in_the_tree_make_dags(tmp_path: Path) -> None:
    shown = yaml.safe_load(PAGE["dags.yaml"].text)
    shipped = yaml.safe_load((ROOT / "deploy" / "airflow" / "dags.yaml").read_text())
    listed = {
        name
        for line in (ROOT / "docs" / "AIRFLOW.md").read_text("utf-8").splitlines()
        if line.startswith("| `")
        for name in line.split("|")[1].replace("`", "").replace(" ", "").split(",")
    }
    script = (
        "import os, json, dataclasses, millrace_settings as s, millrace_dag as d;"
        "print(json.dumps([[x.name for x in dataclasses.fields(s.Scheduled)],"
        " sorted(n for n in vars(d) if n.startswith('millrace_digits')),"
        " list(d.millrace_digits.task_ids), d.millrace_digits.get_task('run').pool]))"
    )
    for entries, pool in ((shown, "millrace_gpu"), (shipped, "default_pool")):
        keys, dags, steps, held = said_by_dags(tmp_path, entries, script)
        assert set(keys) <= listed
        assert (dags, held) == (["millrace_digits"], pool)
        assert steps == ["preflight", "validate", "run", "publish"]


def test_a_driver_on_kubernetes_runs_what_is_in_its_image_and_nothing_of_this_machine(
    tmp_path: Path,
) -> None:
    """Spark would have to upload a local file there, and refuses one unless it is told where to."""
    script = (
        "import json, millrace_dag as d; run = d.millrace_digits.get_task('run');"
        "print(json.dumps([run.application, run.py_files]))"
    )
    entry = {"job": "conf/jobs/digits.yaml", "start": DAYS[0]}
    home = str(ROOT)
    for cluster, wanted in (
        ("kubernetes", ["local:///opt/millrace/pipelines/score.py", None]),
        ("yarn", [f"{home}/pipelines/score.py", f"{home}/dist/millrace.zip"]),
        (None, [f"{home}/pipelines/score.py", None]),
    ):
        assert said_by_dags(tmp_path, [entry | {"cluster": cluster}], script) == wanted
    manifest = ROOT / "deploy" / "kubernetes" / "sparkapplication-kubeflow.yaml"
    spec = yaml.safe_load(manifest.read_text())["spec"]
    assert spec["mainApplicationFile"] == "local:///opt/millrace/pipelines/score.py"
