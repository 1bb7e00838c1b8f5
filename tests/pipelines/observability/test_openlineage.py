"""Events of real runs, as a receiver on loopback gets them; and receivers that are down, slow or odd."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from millrace.pipelines.observability import openlineage_events
from millrace.pipelines.observability.openlineage_client import Receiver, shown
from millrace.pipelines.observability.openlineage_datasets import dataset
from millrace.pipelines.observability.openlineage_events import LineageContext
from millrace.schemas.config import Job
from millrace.schemas.errors import GateRefused
from millrace.schemas.summary import RunSummary
from tests.helpers import observed_job

Json = dict[str, Any]
Score = Callable[..., RunSummary]


@contextmanager
def receiving(code: int = 200, wait_s: float = 0.0) -> Iterator[tuple[str, list[Json], list[Any]]]:
    """A server that answers so, after so long; its address, the bodies and the headers that it got."""
    bodies: list[Json] = []
    headers: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            bodies.append(json.loads(body))
            headers.append(self.headers)
            time.sleep(wait_s)
            self.send_response(code)
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}", bodies, headers
        server.shutdown()


def job(tmp: Path, model: Path, openlineage: str, **changes: Any) -> Job:
    told = {"openlineage": openlineage, "openlineage_timeout_s": 5.0}
    return observed_job(tmp, model, told, **changes)


@pytest.fixture(scope="module")
def told(
    spark: Any, model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[Json], list[Any], RunSummary, Path]:
    """What a run that is done told, with a password in the URL."""
    from millrace.pipelines.console.progress import Progress
    from millrace.pipelines.run.runner import run

    tmp = tmp_path_factory.mktemp("told")
    with receiving() as (address, bodies, headers):
        url = f"http://ada:se%3Acret@{address}/api/v1/lineage?key=hidden"
        summary = run(spark, job(tmp, model, url), Progress(quiet=True))
    return bodies, headers, summary, tmp


def test_a_run_tells_that_it_began_and_what_it_came_to(told: Any) -> None:
    (start, complete), headers, summary, tmp = told
    assert (start["eventType"], complete["eventType"]) == ("START", "COMPLETE")
    assert start["run"]["runId"] == complete["run"]["runId"]
    assert start["job"] | {"facets": {}} == {"namespace": "millrace", "name": "tiny", "facets": {}}
    assert headers[0]["Content-Type"] == "application/json"
    assert headers[0]["Authorization"] == "Basic YWRhOnNlOmNyZXQ="

    ended = complete["run"]["facets"]["millrace_run"]
    assert ended["runId"] == summary.run_id
    assert ended["rows"] == {"read": 21, "scored": 20, "quarantined": 1, "failed": 0}
    cost = complete["run"]["facets"]["millrace_cost"]
    assert cost["cost"] == f"{summary.cost:f}"
    assert sum(float(kind["cost"]) for kind in cost["byKind"]) == pytest.approx(
        float(summary.cost or 0)
    )

    (read,), (predictions, quarantine) = complete["inputs"], complete["outputs"]
    assert (read["namespace"], read["name"]) == ("file", str(tmp / "input"))
    assert {one["name"]: one["type"] for one in read["facets"]["schema"]["fields"]} == {
        "id": "bigint", "pixels": "binary",
    }  # fmt: skip
    quality = read["inputFacets"]["dataQualityMetrics"]
    assert (quality["rowCount"], quality["fileCount"]) == (21, 1)
    assert quality["columnMetrics"]["id"] == {"nullCount": 0}
    held = {one["name"]: one for one in read["inputFacets"]["dataQualityAssertions"]["assertions"]}
    assert (held["whole"]["success"], held["whole"]["column"], held["whole"]["actual"]) == (
        False, "pixels", "1 rows",
    )  # fmt: skip
    assert held["id.unique"]["success"] is True
    assert predictions["outputFacets"]["outputStatistics"]["rowCount"] == 20
    assert quarantine["outputFacets"]["outputStatistics"]["rowCount"] == 1
    assert predictions["name"] == str(tmp / "lake" / "predictions_tiny")


def test_each_output_column_has_the_columns_that_it_comes_from(told: Any) -> None:
    (start, _), _, _, tmp = told
    lineage = start["outputs"][0]["facets"]["columnLineage"]
    found = {
        name: [(one["field"], one["transformations"][0]["subtype"]) for one in field["inputFields"]]
        for name, field in lineage["fields"].items()
    }
    assert found["id"] == [("id", "IDENTITY")]
    assert found["label"] == [("pixels", "TRANSFORMATION")]
    assert {one["field"] for one in lineage["dataset"]} == {"id", "pixels"}
    assert all(one["name"] == str(tmp / "input") for one in lineage["dataset"])


def test_no_password_is_in_an_event_a_table_or_a_log(told: Any) -> None:
    bodies, _, summary, tmp = told
    assert "cret" not in json.dumps(bodies) + json.dumps(summary.as_json(), default=str)
    assert "hidden" not in json.dumps(bodies)
    for path in (tmp / "lake").rglob("*"):
        if path.is_file():
            found = path.read_bytes()
            assert not re.search(rb"cret@|key=hidden", found), path


def test_every_event_and_facet_is_what_openlineage_own_classes_take(told: Any) -> None:
    from importlib import import_module
    from pkgutil import iter_modules

    generated = pytest.importorskip(
        "openlineage.client.generated", reason="openlineage-python is not in this environment"
    )
    classes: dict[str, Any] = {}
    for module in iter_modules(generated.__path__):
        found = vars(import_module(f"openlineage.client.generated.{module.name}"))
        classes |= {
            one._get_schema(): one
            for one in found.values()
            if isinstance(one, type) and hasattr(one, "_get_schema")
        }
    for event in told[0]:
        assert event["schemaURL"] in classes
        made = {name: value for name, value in event.items() if name != "schemaURL"}
        classes[event["schemaURL"]](**made)  # the right fields, a UUID, a time, URLs
        seen = 0
        for facet in facets_of(event):
            if facet["_schemaURL"].startswith("urn:millrace:facet:"):
                continue
            plain = {name: v for name, v in facet.items() if not name.startswith("_")}
            classes[facet["_schemaURL"]](**plain, producer=facet["_producer"])
            seen += 1
        assert seen >= 6


def facets_of(event: Json) -> Iterator[Json]:
    for holder in (event["run"], event["job"], *event["inputs"], *event["outputs"]):
        for name in ("facets", "inputFacets", "outputFacets"):
            yield from holder.get(name, {}).values()


def test_a_refused_run_tells_that_it_failed_and_why(
    tmp_path: Path, score: Score, model: Path
) -> None:
    lines = tmp_path / "events" / "lineage.jsonl"
    with pytest.raises(GateRefused):
        score(job(tmp_path, model, str(lines), max_quarantined=0))
    start, failed = map(json.loads, lines.read_text().splitlines())
    assert (start["eventType"], failed["eventType"]) == ("START", "FAIL")
    error = failed["run"]["facets"]["errorMessage"]
    assert error["message"].startswith("GateRefused: ")
    assert failed["run"]["facets"]["millrace_run"]["state"] == "refused"
    assert "rowCount" not in str(failed["outputs"][0].get("outputFacets"))


@pytest.mark.parametrize("code", [500, 302])
def test_a_receiver_that_refuses_is_told_once_and_the_run_is_done(
    tmp_path: Path, score: Score, model: Path, code: int
) -> None:
    with receiving(code) as (address, bodies, _):
        summary = score(job(tmp_path, model, f"http://ada:secret@{address}/a?token=hidden"))
    assert len(bodies) == 2
    assert summary.state == "done"
    (warning,) = [one for one in summary.warnings if "OpenLineage" in one]
    assert warning == f"OpenLineage events did not arrive at http://{address}: answer {code}"


def test_a_receiver_that_is_down_or_slow_holds_nothing_up() -> None:
    event: Json = {"eventType": "START"}
    down = Receiver("http://ada:secret@127.0.0.1:9/x", 5.0)
    began = time.monotonic()
    down.send(event)
    assert time.monotonic() - began < 4  # it would wait for 5
    assert re.fullmatch("[A-Z][a-z ]+", down.close() or "")  # the system's words, without the URL
    with receiving(wait_s=30) as (address, _, _):
        slow = Receiver(f"http://{address}/", 0.5)
        began = time.monotonic()
        slow.send(event)
        slow.send(event)
        assert slow.close() is not None
        assert time.monotonic() - began < 15  # it would wait for 30


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    receiver = Receiver(str(tmp_path / "file" / "lines"), 5.0)
    receiver.send({})
    assert receiver.close()


def test_a_token_goes_before_a_password() -> None:
    with receiving() as (address, _, headers):
        receiver = Receiver(f"http://ada:secret@{address}/", 5.0, "t0")
        receiver.send({})
        assert receiver.close() is None
    assert headers[0]["Authorization"] == "Bearer t0"


@pytest.mark.parametrize(
    ("path", "found"),
    [("/a/b c", ("file", "/a/b c")), ("file:///a", ("file", "/a")), ("s3://b/k/x/", ("s3://b", "k/x")),
     ("https://u:p@h:1/x", ("https://h:1", "x")), ("s3a://b", ("s3a://b", "/"))],
)  # fmt: skip
def test_a_path_is_named_as_openlineage_names_it(path: str, found: tuple[str, str]) -> None:
    assert dataset(path) == found


def test_a_url_is_shown_without_what_may_be_secret() -> None:
    assert shown("https://u:p@h:5000/api?key=x#y") == "https://h:5000"
    assert shown("lineage.jsonl") == "lineage.jsonl"


def test_what_started_the_run_is_its_parent_where_it_says_so() -> None:
    run = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
    told = {"OPENLINEAGE_PARENT_ID": f"my/space/dag.task/{run}", "OPENLINEAGE_NAMESPACE": "prod"}
    assert LineageContext.of(told) == LineageContext("prod", ("my/space", "dag.task", run))
    assert LineageContext.of({"OPENLINEAGE_PARENT_ID": "a/b/no-uuid"}) == LineageContext()


def test_a_url_of_another_kind_is_refused_without_being_shown(tmp_path: Path) -> None:
    from millrace.schemas.errors import JobFileError
    from millrace.schemas.yaml_file import load
    from tests.schemas.test_config import FULL

    path = tmp_path / "job.yaml"
    path.write_text(FULL + 'observe: {openlineage: "ftp://ada:secret@h/x"}\n')
    with pytest.raises(JobFileError) as refused:
        load(path, Job)
    assert "allowed are http://, https:// and the path of a file" in str(refused.value)
    assert "secret" not in str(refused.value)


def test_events_have_one_id_an_attempt(tmp_path: Path) -> None:
    from millrace.pipelines.lake.fencing import Driver
    from millrace.pipelines.lake.runs import Run

    by = Driver(tmp_path)
    first = Run("tiny-1", "f", "tiny", {}, by, application="app-1")
    again = Run("tiny-1", "f", "tiny", {}, by, application="app-2", events=3)
    assert openlineage_events.attempt_id(first) == openlineage_events.attempt_id(first)
    assert openlineage_events.attempt_id(first) != openlineage_events.attempt_id(again)
