"""The host process: ``python -m millrace.udfs.host.server PLACE DIRECTORY``, started by `host.election`."""

from __future__ import annotations

import os
import secrets
import selectors
import shutil
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import AuthenticationError
from pathlib import Path
from typing import Any, NoReturn

from filelock import FileLock, Timeout

from millrace.schemas.errors import RunFailed
from millrace.udfs.host import protocol
from millrace.udfs.host.address import HostSpec, born
from millrace.udfs.host.compute_thread import Computer, LoadRequest, ModelKey, PredictRequest
from millrace.udfs.host.election import ADDRESS, LOCK, read_address, write_address
from millrace.udfs.host.session import Tenant
from millrace.udfs.host.shared_memory import Area
from millrace.udfs.runtime.memory import keep_freed_memory
from millrace.udfs.runtime.plan import Runtime

_BACKLOG = 128
_KEY_BYTES = 32


class Server:
    """Accepts clients and reads their requests, in a thread that never computes.

    It therefore notices at once when a client disconnects, when the owner ends, and when it is idle.
    """

    def __init__(self, place: HostSpec, directory: Path) -> None:
        self._place, self._directory = place, directory
        self._owner = os.pidfd_open(place.owner)
        self._key = secrets.token_bytes(_KEY_BYTES)
        self._name = f"s{os.getpid()}"
        self._board = Area.made()
        self._computer = Computer(place, self._board.counter())
        self._tenants: dict[Tenant, ModelKey | None] = {}  # by client, the model that it requested
        self._proven: deque[Tenant] = deque()
        self._wake = os.eventfd(0)
        self._idle_since = time.monotonic()
        self._selector = selectors.DefaultSelector()
        self._listener = _listening(directory, self._name)

    def run(self) -> NoReturn:
        """Serve until the owner ends, or no client was there for ``idle_s``."""
        self._selector.register(self._owner, selectors.EVENT_READ, self._owner_ended)
        self._selector.register(self._wake, selectors.EVENT_READ, self._welcome)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        threading.Thread(target=self._compute, daemon=True).start()
        write_address(self._directory, self._name, self._key)
        while True:
            for key, _ in self._selector.select(self._patience_s()):
                if isinstance(key.data, Tenant):
                    self._read(key.data)
                else:
                    key.data()
            if self._patience_s() == 0:
                self._retire()

    def _patience_s(self) -> float | None:
        """How long to go on without a client; None while there is one."""
        if self._tenants or self._proven:
            return None
        return max(0.0, self._idle_since + self._place.idle_s - time.monotonic())

    def _compute(self) -> None:
        try:
            self._computer.run()
        finally:  # without it nobody would be answered, and all would wait
            os._exit(1)

    def _accept(self) -> None:
        opened, _ = self._listener.accept()
        threading.Thread(target=self._prove, args=(opened,), daemon=True).start()

    def _prove(self, opened: socket.socket) -> None:
        """Let a client in that knows the key; one that says nothing keeps nobody else waiting."""
        with suppress(AuthenticationError, OSError, EOFError), opened:
            tenant = Tenant(opened, self._key, self._board, self._place.start_s)
            self._proven.append(tenant)
            os.eventfd_write(self._wake, 1)

    def _welcome(self) -> None:
        os.eventfd_read(self._wake)
        while self._proven:
            tenant = self._proven.popleft()
            self._tenants[tenant] = None
            self._selector.register(tenant.connection, selectors.EVENT_READ, tenant)

    def _read(self, tenant: Tenant) -> None:
        try:
            self._take(tenant, protocol.receive(tenant.connection))
        except (EOFError, OSError):
            self._leave(tenant)
        except Exception as error:  # noqa: BLE001 - a message that makes no sense is its sender's alone
            tenant.say(protocol.error_message(error))
            self._leave(tenant)

    def _take(self, tenant: Tenant, message: dict[str, Any]) -> None:
        if message["do"] == "ensure":
            runtime = Runtime(**message["runtime"])
            key = ModelKey(Path(message["folder"]), message["digest"], runtime)
            self._tenants[tenant] = key
            self._computer.put(LoadRequest(tenant, key, time.monotonic()))
        elif (model := self._tenants[tenant]) is None:
            raise RunFailed("a client asks before it has a model", got=str(message))
        else:
            self._computer.put(PredictRequest(tenant, model, tenant.values(message["bytes"])))

    def _leave(self, tenant: Tenant) -> None:
        self._selector.unregister(tenant.connection)
        del self._tenants[tenant]
        self._computer.drop(tenant)
        tenant.close()
        self._idle_since = time.monotonic()

    def _owner_ended(self) -> NoReturn:
        shutil.rmtree(self._directory, ignore_errors=True)  # nobody else comes here
        os._exit(0)

    def _retire(self) -> NoReturn:
        """End; the address goes only if it is still this process's, and nobody is electing another."""
        self._listener.close()
        with suppress(Timeout), FileLock(self._directory / LOCK, timeout=0, mode=0o600):
            address = read_address(self._directory)
            if address is not None and address["pid"] == os.getpid():
                (self._directory / ADDRESS).unlink(missing_ok=True)
        (self._directory / self._name).unlink(missing_ok=True)
        os._exit(0)


def _listening(directory: Path, name: str) -> socket.socket:
    """A Unix socket for this user alone."""
    listener = socket.socket(socket.AF_UNIX)
    os.umask(0o177)
    with protocol.path_of(directory, name) as path:
        listener.bind(path)
    os.umask(0o077)
    listener.listen(_BACKLOG)
    return listener


def main(arguments: Sequence[str]) -> NoReturn:
    """Serve a host spec from its directory."""
    keep_freed_memory()
    text, directory = arguments
    place = HostSpec.from_json(text)
    if place.directory != Path(directory):  # the owner ended, and another has its id
        sys.exit(
            f"process {place.owner}, born {born(place.owner)}, is not the owner of {directory}"
        )
    Server(place, Path(directory)).run()


if __name__ == "__main__":
    main(sys.argv[1:])
