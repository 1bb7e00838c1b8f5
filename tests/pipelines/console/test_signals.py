"""A command stops where it is asked to, whatever started it."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

_CODE = """
import time
from millrace.pipelines.console.signals import stop_at_signals
stop_at_signals()
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("stopped")
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_command_that_a_script_started_in_the_background_stops_at_a_signal(
    number: signal.Signals,
) -> None:
    """A shell that controls no jobs starts those with SIGINT ignored."""
    started = subprocess.Popen(
        ["/bin/sh", "-c", 'trap "" INT; exec "$0" -c "$1"', sys.executable, _CODE],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "ready\n"
    started.send_signal(number)
    assert started.communicate(timeout=30)[0] == "stopped\n"
