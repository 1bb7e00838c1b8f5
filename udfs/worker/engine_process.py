"""``python -m millrace.udfs.worker.engine_process``: Sail, the embedded engine, in a process of its own.

It speaks with its driver in lines: it writes that it is ready; then it reads what to do, and answers each
line. It ends when the driver closes its end, or is gone. Sail asks for no password: its port is therefore in
a network of this process's own, and the driver connects to a socket in a folder that only its user can open.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TextIO

from millrace.udfs.runtime.process import mark_used
from millrace.udfs.worker import engine_tasks, private_network, socket_relay
from millrace.udfs.worker.engine_log import EngineLog


def main() -> None:
    """Serve one driver."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--application", required=True)
    parser.add_argument("--cores", type=int, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--socket", type=Path, required=True, help="where the driver connects")
    parser.add_argument("--preload", nargs="*", default=[], help="modules, while the driver starts")
    given = parser.parse_args()
    private_network.enter()  # before the first thread
    # What a model prints must not come between the answers: only this descriptor is the driver's.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to both: the driver decides
    mark_used()  # no task's start is this process's: that is the run's start-up
    os.environ["SAIL_EXECUTION__DEFAULT_PARALLELISM"] = str(given.cores)
    from pysail.spark import SparkConnectServer

    log = EngineLog.opened(given.log / given.application, given.application, given.cores)
    tasks = engine_tasks.serve(log, given.cores)
    log.python = tasks.totals
    threading.Thread(target=tasks.watch, daemon=True).start()
    server = SparkConnectServer("127.0.0.1", 0)
    server.start(background=True)
    socket_relay.serve(given.socket, server.listening_address[1])
    _answer(answers, {"ready": True})
    threading.Thread(target=_import, args=(given.preload,), daemon=True).start()
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "limit":
            tasks.limit_s = request["seconds"]
        else:
            (log.step_began if request["do"] == "begin" else log.step_ended)(request["tag"])
        _answer(answers, {"done": request["do"]})
    log.close()
    os._exit(0)  # Sail's threads would be waited for


def _import(modules: Sequence[str]) -> None:
    """What the first task would wait for. Its errors are ignored: that task meets them again."""
    for module in (
        "pyarrow",
        "millrace.udfs.engine.scoring",
        "millrace.udfs.engine.metering",
        *modules,
    ):
        with suppress(Exception):
            import_module(module)


def _answer(answers: TextIO, content: dict[str, object]) -> None:
    answers.write(json.dumps(content) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
