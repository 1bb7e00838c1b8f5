"""The embedded engine, Sail, on this machine: its process, its session, and the steps that it is told of."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, cast

from pyspark.sql import SparkSession

from millrace.pipelines.spark.pyspark_internals import connected, leave_connect_mode, session_id
from millrace.schemas.errors import RunFailed, UsageError
from millrace.udfs.worker import private_network
from millrace.udfs.worker.engine_tasks import HUNG, IDLE_S

# In gRPC's errors of a connection that ended.
_CUT = ("UNAVAILABLE", "Socket closed", "Connection re")
_REAPED_S = 20.0  # after it, a process that dumps its memory has ended
_END_S = 5.0  # from the word to end until it is killed


class EngineEnded(RunFailed):
    """The engine's process has ended, perhaps by a row that it computed."""


@dataclass
class EmbeddedEngine:
    """A process of the engine that this process has started."""

    process: subprocess.Popen[str]
    application: str
    logs: Path
    cores: int
    requests: IO[str]
    answers: IO[str]
    folder: TemporaryDirectory[str]  # of its socket, for this user alone
    lock: threading.RLock = field(default_factory=threading.RLock)
    has_ended: bool = False  # by itself, as its log says
    depth: dict[str, int] = field(default_factory=dict)  # by tag, blocks inside of its step

    @contextmanager
    def step(self, tag: str) -> Iterator[None]:
        """Count what the engine does inside for a step; steps of one tag, one inside another, are one."""
        with self.lock:
            self.depth[tag] = self.depth.get(tag, 0) + 1
            if self.depth[tag] == 1:
                self._ask("begin", tag=tag)
        try:
            yield
        except Exception as error:
            self._check_alive(error)
            raise
        finally:
            with self.lock:
                self.depth[tag] -= 1
                if not self.depth[tag] and self.process.poll() is None:
                    self._ask("end", tag=tag)

    def _check_alive(self, error: Exception) -> None:
        """Raise RunFailed where an error came of the process's end, which comes after the connection's."""
        is_cut = any(word in str(error) for word in _CUT)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(_REAPED_S if is_cut else 0)
            raise self._death() from error

    @contextmanager
    def patient(self, seconds: float) -> Iterator[None]:
        """While open, a task may compute so long without a result until the process ends itself."""
        with self.lock:
            self._ask("limit", seconds=seconds)
        try:
            yield
        finally:
            with self.lock:
                if self.process.poll() is None:
                    self._ask("limit", seconds=IDLE_S)

    def stop(self) -> None:
        """End it; a process that does not end in time is killed."""
        self.folder.cleanup()
        with suppress(OSError):
            self.requests.close()
        try:
            self.process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.answers.close()

    def read(self) -> dict[str, Any]:
        """Its next answer. Raises RunFailed where it has ended."""
        line = self.answers.readline()
        if not line:
            raise self._death()
        found: dict[str, Any] = json.loads(line)
        return found

    def _death(self) -> EngineEnded:
        code = self.process.wait()
        self._record_end(code)
        return EngineEnded(
            "the embedded engine's process has ended",
            got=f"exit code {code}" + (", since a task hung" if code == HUNG else ""),
            allowed="run.place local, where a row that ends a process is found and set aside",
            next=f"run the job again with --set run.place=local: it resumes; see {self.logs}",
        )

    def _record_end(self, code: int) -> None:
        """Write into the log that no task of it runs any more: its bill is closed by this process."""
        with self.lock, (self.logs / self.application).open("a+b") as log:
            if self.has_ended:
                return
            self.has_ended = True
            if log.tell():
                log.seek(-1, os.SEEK_END)
                if log.read(1) != b"\n":  # it was killed while it wrote
                    log.write(b"\n")
            event = {"Event": "SparkListenerEngineEnded", "Exit Code": code}
            log.write(json.dumps(event, separators=(",", ":")).encode() + b"\n")

    def _ask(self, do: str, **more: Any) -> None:
        try:
            self.requests.write(json.dumps({"do": do, **more}) + "\n")
            self.requests.flush()
        except OSError:
            pass  # what it left unsaid is read next
        self.read()


_ENGINES: dict[str, EmbeddedEngine] = {}  # by session


def engine_of(spark: SparkSession) -> EmbeddedEngine | None:
    """The embedded engine that a session talks to; None where it talks to Spark."""
    return _ENGINES.get(session_id(spark))


@cache
def why_unavailable() -> str | None:
    """Why this machine cannot run the embedded engine; None: it can."""
    if sys.platform != "linux":
        return f"{sys.platform}: no clock there has the CPU time of one thread"
    if find_spec("pysail") is None:
        return "pysail is not installed"
    # In a process of its own, since this one must not move to another network.
    probe = [sys.executable, "-I", "-S", private_network.__file__]
    tried = subprocess.run(probe, capture_output=True, text=True, check=False)  # noqa: S603 - our own
    if tried.returncode:
        return f"no private network for its port: {tried.stderr.strip()}"
    return None


def open_embedded(
    logs: Path,
    settings: Mapping[str, str],
    meanwhile: Callable[[], object] = lambda: None,
    preload: Sequence[str] = (),
) -> SparkSession:
    """A session of a new engine's; ``meanwhile`` is called while it starts, and imports ``preload``.

    Raises UsageError where it is not installed or does not start, or for a setting that it does not take.
    """
    if reason := why_unavailable():
        raise UsageError(
            "the embedded engine cannot run here", got=reason, next="set run.place to local or auto"
        )
    engine = _started(logs, preload)
    try:
        meanwhile()
        engine.read()
        spark = connected(_socket(engine.folder))
        for key, value in {"spark.sql.session.timeZone": "UTC", **settings}.items():
            spark.conf.set(key, value)
    except BaseException:
        engine.stop()
        raise
    _ENGINES[session_id(spark)] = engine
    return spark


def close(spark: SparkSession) -> None:
    """End a session, and the embedded engine where it has one."""
    engine = engine_of(spark)
    if engine is not None:
        del _ENGINES[session_id(spark)]
    try:
        spark.stop()
    except Exception:
        if engine is None:  # else its process is gone, and the session with it
            raise
    finally:
        if engine is not None:
            engine.stop()
            leave_connect_mode()


def _started(logs: Path, preload: Sequence[str]) -> EmbeddedEngine:
    folder = TemporaryDirectory(prefix="millrace-engine-")  # mode 0700
    application = f"embedded-{time.time_ns() // 1_000_000}-{os.getpid()}"
    cores = os.cpu_count() or 1
    packages = Path(str(files("millrace"))).resolve().parent
    command = [
        sys.executable, "-P", "-m", "millrace.udfs.worker.engine_process", "--application", application,
        "--cores", str(cores), "--log", str(logs), "--socket", str(_socket(folder)), "--preload", *preload,
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONPATH": str(packages)}
    with (logs / "spark.log").open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 - our own module, by this interpreter
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment,
        )
    requests, answers = cast("IO[str]", process.stdin), cast("IO[str]", process.stdout)
    return EmbeddedEngine(process, application, logs, cores, requests, answers, folder)


def _socket(folder: TemporaryDirectory[str]) -> Path:
    return Path(folder.name) / "engine"
