"""Which machine this is, as the metadata service of its cloud says; None where there is none."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.request import HTTPErrorProcessor, ProxyHandler, Request, build_opener

ADDRESS = "http://169.254.169.254"  # link-local: the same on all three clouds, and never routed
WITHIN_S = 0.3
_MAX_BYTES = 1 << 16

MetadataRequest = Callable[..., str]  # path, method, headers -> body


@dataclass(frozen=True)
class CloudInstance:
    """A cloud's name for a machine type, and the region it is in."""

    sku: str
    region: str
    cloud: str


class _NoRedirects(HTTPErrorProcessor):
    """Answers as they come: a metadata service never sends anyone elsewhere."""

    def http_response(self, _request: Request, response: Any) -> Any:
        return response


def machine(address: str = ADDRESS, within_s: float = WITHIN_S) -> CloudInstance | None:
    """What the metadata service at ``address`` says of this machine; None where none answers in time.

    Queries all clouds at once, without a proxy. Never raises, and never takes longer than
    ``within_s`` seconds: where there is no service, a connection may hang until it is given up.
    """
    until = time.monotonic() + within_s
    answers: queue.SimpleQueue[CloudInstance | None] = queue.SimpleQueue()
    for cloud in CLOUDS:
        ask = partial(_get, address, until)
        threading.Thread(target=_tried, args=(cloud, ask, answers), daemon=True).start()
    for _ in CLOUDS:
        try:
            found = answers.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            return None
        if found is not None:
            return found
    return None


def _tried(
    cloud: Callable[[MetadataRequest], CloudInstance],
    ask: MetadataRequest,
    answers: queue.SimpleQueue[CloudInstance | None],
) -> None:
    """Put what a cloud says into the queue, or None."""
    try:
        found = cloud(ask)
    except Exception:  # noqa: BLE001 - whatever it is: this is not that cloud
        answers.put(None)
        return
    answers.put(found if found.sku and found.region else None)


def _get(
    address: str,
    until: float,
    path: str,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
) -> str:
    """The body of an answer with status 200, as text. Raises OSError or ValueError."""
    left_s = until - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    opener = build_opener(ProxyHandler({}), _NoRedirects)
    request = Request(address + path, method=method, headers=dict(headers or {}))  # noqa: S310
    with opener.open(request, timeout=left_s) as answer:
        if answer.status != 200:  # noqa: PLR2004
            raise ValueError(answer.status)
        return str(answer.read(_MAX_BYTES).decode("utf-8").strip())


def _aws(ask: MetadataRequest) -> CloudInstance:
    """IMDSv2: a token first, then the values."""
    lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
    token = {"X-aws-ec2-metadata-token": ask("/latest/api/token", "PUT", lifetime)}
    sku = ask("/latest/meta-data/instance-type", "GET", token)
    return CloudInstance(sku, ask("/latest/meta-data/placement/region", "GET", token), "aws")


def _gcp(ask: MetadataRequest) -> CloudInstance:
    """Both values are paths; a zone is its region and a letter."""
    google, at = {"Metadata-Flavor": "Google"}, "/computeMetadata/v1/instance"
    kind = ask(f"{at}/machine-type", "GET", google)
    zone = ask(f"{at}/zone", "GET", google)
    if "/machineTypes/" not in kind or "/zones/" not in zone:
        raise ValueError(kind)
    region = zone.rpartition("/")[2].rpartition("-")[0]
    return CloudInstance(kind.rpartition("/")[2], region, "gcp")


def _azure(ask: MetadataRequest) -> CloudInstance:
    text = ask(
        "/metadata/instance/compute?api-version=2021-02-01&format=json", "GET", {"Metadata": "true"}
    )
    instance = json.loads(text)
    return CloudInstance(str(instance["vmSize"]), str(instance["location"]), "azure")


CLOUDS: tuple[Callable[[MetadataRequest], CloudInstance], ...] = (_aws, _gcp, _azure)
