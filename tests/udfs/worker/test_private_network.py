"""Nobody but its driver's user can connect to what the embedded engine listens on."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from millrace.pipelines.spark import embedded
from millrace.udfs.worker import private_network, socket_relay

LISTENING = """
import socket, sys
sys.path.insert(0, {folder!r})
import private_network
before = open("/proc/self/uid_map").read() and __import__("os").getuid()
private_network.enter()
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
assert __import__("os").getuid() == before
socket.create_connection(("127.0.0.1", server.getsockname()[1]), 5)
print("reached", flush=True)
sys.stdin.read()
"""


def test_a_port_in_a_private_network_is_reached_from_there_and_from_nowhere_else() -> None:
    folder = str(Path(private_network.__file__).parent)
    with subprocess.Popen(
        [sys.executable, "-I", "-c", LISTENING.format(folder=folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        port = int(process.stdout.readline())
        assert process.stdout.readline() == "reached\n"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 5)
        process.communicate()
    assert process.returncode == 0


def test_the_relay_carries_bytes_both_ways_and_an_end_ends_the_other_side(tmp_path: Path) -> None:
    sent = bytes(range(256)) * 40_000  # more than the buffers take
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as client:
        socket_relay.serve(tmp_path / "s", server.getsockname()[1])
        client.connect(str(tmp_path / "s"))
        served, _ = server.accept()
        with served:
            writer = threading.Thread(target=client.sendall, args=(sent,))
            writer.start()
            got = b""
            while len(got) < len(sent):
                got += served.recv(1 << 20)
            writer.join()
            served.sendall(b"answer")
            assert client.recv(100) == b"answer"
        assert got == sent
        assert client.recv(100) == b""


def test_a_machine_without_private_networks_is_named_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    probe = tmp_path / "private_network.py"
    probe.write_text("raise SystemExit('Operation not permitted: unshare')", "utf-8")
    monkeypatch.setattr(private_network, "__file__", str(probe))
    embedded.why_unavailable.cache_clear()
    try:
        why = embedded.why_unavailable()
    finally:
        embedded.why_unavailable.cache_clear()
    assert why == "no private network for its port: Operation not permitted: unshare"


def test_only_its_user_can_enter_the_folder_of_the_engines_socket(tmp_path: Path) -> None:
    engine = embedded._started(tmp_path, ())
    try:
        engine.read()
        folder = Path(engine.folder.name)
        assert folder.stat().st_mode & 0o077 == 0
        assert (folder / "engine").is_socket()
    finally:
        engine.stop()
    assert not folder.exists()
