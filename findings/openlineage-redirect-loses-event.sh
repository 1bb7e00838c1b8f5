#!/usr/bin/env bash
# What: the HTTP transport of openlineage-python reports success for an event that a redirect has lost.
# Where: HttpTransport.emit. A receiver that answers 301 or 302 gets a GET without a body at the new address.
# Versions: openlineage-python 1.54.0, requests 2.34.2.
# Inconsistent: answers 307 and 308 to the same POST deliver the event; 4xx and 5xx raise an error.
# Why it matters: a receiver behind a proxy that redirects http to https, or /api to /api/, never gets an event.
# Instead: configure the final address, and check the events in the receiver.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --no-compile openlineage-python==1.54.0 requests==2.34.2

cat > finding.py <<'PY'
import sys
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version

from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
from openlineage.client.transport.http import HttpConfig, HttpTransport
from openlineage.client.uuid import generate_new_uuid

seen = []


class Receiver(BaseHTTPRequestHandler):
    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        seen.append((self.command, self.path, len(body)))
        code = int(self.path.split("/")[1])
        if code < 400 and not self.path.endswith("/moved"):
            self.send_response(code)
            self.send_header("Location", self.path + "/moved")
        else:
            self.send_response(200 if code < 400 else code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET = answer

    def log_message(self, *arguments):
        pass


server = HTTPServer(("127.0.0.1", 0), Receiver)
threading.Thread(target=server.serve_forever, daemon=True).start()
event = RunEvent(
    eventTime=datetime.now(UTC).isoformat(),
    eventType=RunState.START,
    run=Run(runId=str(generate_new_uuid())),
    job=Job(namespace="finding", name="job"),
    producer="https://example.org/finding",
)


def emit(code):
    """What emit did, and the requests at the new address."""
    seen.clear()
    config = HttpConfig(
        url=f"http://127.0.0.1:{server.server_port}",
        endpoint=f"{code}/lineage",
        timeout=5,
        retry={"total": 0},
    )
    try:
        OpenLineageClient(transport=HttpTransport(config)).emit(event)
        result = "success"
    except Exception as error:
        result = type(error).__name__
    return result, [(method, size > 0) for method, path, size in seen if path.endswith("/moved")]


print("openlineage-python", version("openlineage-python"), "requests", version("requests"))
print("expected: an error, or the event at the new address")
answers = {code: emit(code) for code in (301, 302, 307, 308, 404)}
for code, (result, moved) in answers.items():
    print(f"seen: {code}: emit {result}; new address (method, has a body): {moved}")

lost, kept = ("success", [("GET", False)]), ("success", [("POST", True)])
checks = [
    ("301 does not lose the event in silence", answers[301] == lost),
    ("302 does not lose the event in silence", answers[302] == lost),
    ("307 and 308 do not deliver the event", answers[307] == answers[308] == kept),
    ("404 raises no error", answers[404][0] != "success"),
]
changes = [text for text, holds in checks if not holds]
for text in changes:
    print("CHANGED:", text)
sys.exit(1 if changes else 0)
PY

status=0
venv/bin/python finding.py 2> log || status=$?
if [ "$status" -ne 0 ]; then
    tail -n 5 log >&2
    echo "$(basename "$0"): the behaviour differs from the description" >&2
    exit 1
fi
