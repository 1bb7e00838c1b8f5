"""Commits that a table still has: a restore to an earlier version removes later rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from millrace.pipelines.lake.location import LakeLocation

MESSAGE = "millrace "  # before the transaction's name, in a commit's userMetadata


@dataclass(frozen=True)
class Commits:
    """A table's history, read once: its commits by name, and its restores in order."""

    versions: Mapping[str, int]
    restores: Sequence[tuple[int, int]]  # (version of the restore, version that it went back to)

    @staticmethod
    def of(lake: LakeLocation, table: str) -> Commits:
        """The commits of a table of the lake; none where it is not there."""
        try:
            history = DeltaTable(lake.uri(table)).history()
        except TableNotFoundError:
            return Commits({}, ())
        named = {
            message.removeprefix(MESSAGE): entry["version"]
            for entry in history
            if (message := entry.get("userMetadata") or "").startswith(MESSAGE)
        }
        return Commits(named, sorted(_restores(history)))

    def name(self, transaction: str) -> str:
        """What a transaction is to be called: itself, unless a restore undid it.

        Delta keeps a transaction's id through a restore and would skip it from then on, silently.
        """
        name = transaction
        while (undone_by := self._undone_by(name)) is not None:
            name = f"{transaction}:after-{undone_by}"
        return name

    def lost(self, transaction: str) -> bool:
        """Whether a restore undid this transaction, and nothing has been committed in its place."""
        name = self.name(transaction)
        return name != transaction and name not in self.versions

    def _undone_by(self, name: str) -> int | None:
        """The restore that took this commit away; None where it is in the table, or never was."""
        committed = self.versions.get(name)
        if committed is None or self._is_in(committed):
            return None
        return next(at for at, _ in self.restores if at > committed)

    def _is_in(self, committed: int) -> bool:
        """Whether the latest version has the rows of this one: each restore leads to an older version."""
        version: int | None = None  # the latest
        for at, back_to in reversed(self.restores):
            if version is not None and at > version:
                continue
            if committed > at:
                break
            version = back_to
        return version is None or committed <= version


def _restores(history: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, int]]:
    for entry in history:
        if entry.get("operation") == "RESTORE":
            yield entry["version"], _target(entry, history)


def _target(restore: Mapping[str, Any], history: Sequence[Mapping[str, Any]]) -> int:
    """Return the version that a restore went back to; its parameters state a version or a time."""
    parameters = restore["operationParameters"]
    if parameters.get("version") is not None:
        return int(parameters["version"])
    target = next(value for key, value in parameters.items() if key != "version" and value)
    if str(target).isdigit():  # as delta-rs writes it
        until_ms = float(target)
    else:  # as Spark does
        moment = datetime.fromisoformat(str(target))
        until_ms = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000
    before = [one for one in history if one["version"] < restore["version"]]
    return max((one["version"] for one in before if one["timestamp"] <= until_ms), default=0)
