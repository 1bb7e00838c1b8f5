"""Finding the machine: three clouds' metadata services, played by a real local HTTP server."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from millrace.pipelines.job.instance_metadata import CloudInstance, machine

Answer = tuple[int, str]
AWS, GCP, AZURE = "x-aws-ec2-metadata-token", "metadata-flavor", "metadata"
SLOW_MACHINE_S = 5.0  # as long as a test may wait for a server that is there


def aws(method: str, path: str, headers: dict[str, str]) -> Answer:
    if (method, path) == ("PUT", "/latest/api/token"):
        return (200, "secret") if headers.get(f"{AWS}-ttl-seconds") == "60" else (400, "")
    said = {"instance-type": "c7i.xlarge", "placement/region": "us-east-1"}
    found = said.get(path.removeprefix("/latest/meta-data/"))
    return (200, found) if found and headers.get(AWS) == "secret" else (401, "")


def gcp(method: str, path: str, headers: dict[str, str]) -> Answer:
    said = {
        "machine-type": "projects/1/machineTypes/n2-standard-4",
        "zone": "projects/1/zones/europe-west1-b",
    }
    found = said.get(path.removeprefix("/computeMetadata/v1/instance/"))
    return (200, found) if found and headers.get(GCP) == "Google" else (403, "")


def azure(method: str, path: str, headers: dict[str, str]) -> Answer:
    if not path.startswith("/metadata/instance/compute?") or headers.get(AZURE) != "true":
        return 404, "not here"
    return 200, json.dumps({"vmSize": "Standard_D4s_v5", "location": "westeurope"})


@contextmanager
def serving(answer: Callable[[str, str, dict[str, str]], Answer]) -> Iterator[str]:
    """The address of a server that answers as a function says."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, body = answer(self.command, self.path, headers)
            self.send_response(status)
            if status == 302:
                self.send_header("Location", body)
            self.end_headers()
            self.wfile.write(body.encode())

        def do_PUT(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that gave up
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("cloud", "found"),
    [
        (aws, CloudInstance("c7i.xlarge", "us-east-1", "aws")),
        (gcp, CloudInstance("n2-standard-4", "europe-west1", "gcp")),
        (azure, CloudInstance("Standard_D4s_v5", "westeurope", "azure")),
    ],
)
def test_each_cloud_says_which_machine_this_is(
    cloud: Callable[[str, str, dict[str, str]], Answer], found: CloudInstance
) -> None:
    with serving(cloud) as address:
        assert machine(address, SLOW_MACHINE_S) == found


def test_no_proxy_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
    with serving(aws) as address:
        assert machine(address, SLOW_MACHINE_S) is not None


@pytest.mark.parametrize(
    "answer",
    [
        (200, ""),
        (200, "<html>sign in</html>"),
        (200, "{}"),
        (200, '{"vmSize": "", "location": ""}'),
        (200, "[]"),
        (200, "\udcff".encode("utf-8", "replace").decode()),
        (302, "/elsewhere"),
        (403, "no"),
        (500, "no"),
    ],
)
def test_an_answer_that_is_no_clouds_is_no_machine(answer: Answer) -> None:
    def some_site(method: str, path: str, headers: dict[str, str]) -> Answer:
        return (404, "") if method == "PUT" else answer

    with serving(some_site) as address:
        assert machine(address, SLOW_MACHINE_S) is None


def test_where_nobody_listens_there_is_no_machine() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but never listened at
        assert machine(f"http://127.0.0.1:{taken.getsockname()[1]}") is None


def test_a_server_that_never_answers_is_given_up_in_time() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        began = time.monotonic()
        assert machine(f"http://127.0.0.1:{silent.getsockname()[1]}") is None
        assert time.monotonic() - began < 4  # 0.3 s, and what a busy machine adds


def test_a_server_that_drips_its_answer_is_given_up_in_time() -> None:
    def drip(method: str, path: str, headers: dict[str, str]) -> Answer:
        time.sleep(5)
        return 200, "late"

    with serving(drip) as address:
        began = time.monotonic()
        assert machine(address) is None
        assert time.monotonic() - began < 4


@pytest.mark.parametrize("address", ["http://nowhere.invalid", "not an address", "ftp://127.0.0.1"])
def test_an_address_that_is_none_raises_nothing(address: str) -> None:
    assert machine(address, SLOW_MACHINE_S) is None
