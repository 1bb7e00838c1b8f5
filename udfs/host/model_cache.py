"""The models that a host holds, within a limit of memory."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from schemas.errors import RunFailed

M = TypeVar("M")


@dataclass
class Held(Generic[M]):
    """A model on the shelf; ``tenants`` lease it."""

    model: M
    size_bytes: int
    used: int  # a counter: the least recently used has the smallest
    tenants: set[Hashable] = field(default_factory=set)


class NoRoomYet(Exception):
    """The model will fit when others are no longer leased."""


class Shelf(Generic[M]):
    """Models by key; those that nobody leases make room for new ones, least recently used first.

    A model is admitted while what is held, what is reserved and its estimate are within the limit.
    """

    def __init__(self, limit_bytes: int, reserve_bytes: int, free: Callable[[], None]) -> None:
        self.held: dict[Hashable, Held[M]] = {}
        self._limit, self._reserve, self._free = limit_bytes, reserve_bytes, free
        self._clock = 0

    def lease(
        self,
        key: Hashable,
        tenant: Hashable,
        estimate_bytes: int,
        load: Callable[[], tuple[M, int]],
    ) -> M:
        """The model, kept as long as a tenant leases it; ``load`` gives it and its size in bytes.

        Raises RunFailed for one that is too large by itself, and NoRoomYet for one that must wait.
        """
        if key not in self.held:
            if going := self._in_the_way(key, estimate_bytes):
                for other in going:
                    del self.held[other]
                self._free()
            self.held[key] = Held(*load(), used=0)
        self.held[key].tenants.add(tenant)
        return self.use(key)

    def use(self, key: Hashable) -> M:
        """The model; from now on it is the most recently used."""
        self._clock += 1
        self.held[key].used = self._clock
        return self.held[key].model

    def release(self, tenant: Hashable) -> None:
        """End all leases of a tenant; its models stay until their room is needed."""
        for one in self.held.values():
            one.tenants.discard(tenant)

    def report(self, estimate_bytes: int) -> str:
        """What is needed and what is there, in words."""
        held = ", ".join(
            f"{one.size_bytes:,} ({len(one.tenants)} leases)" for one in self.held.values()
        )
        return f"{estimate_bytes:,} bytes needed, {self._reserve:,} reserved, held: {held or 'nothing'}"

    def too_large(self, estimate_bytes: int) -> RunFailed:
        """The refusal, with the numbers."""
        return RunFailed(
            "the host has no memory for the model",
            got=self.report(estimate_bytes),
            allowed=f"{self._limit:,} bytes on the device",
            next="raise the host's limit, take a lower precision, or run fewer models at once",
        )

    def _in_the_way(self, key: Hashable, estimate_bytes: int) -> list[Hashable]:
        """What must go before ``key`` can come."""
        if self._reserve + estimate_bytes > self._limit:
            raise self.too_large(estimate_bytes)
        going: list[Hashable] = []
        unleased = ((k, one) for k, one in self.held.items() if not one.tenants)
        queue = sorted(unleased, key=lambda pair: pair[1].used)
        while self._total(going) + self._reserve + estimate_bytes > self._limit:
            if not queue:
                raise NoRoomYet(key)
            going.append(queue.pop(0)[0])
        return going

    def _total(self, without: Iterable[Hashable]) -> int:
        gone = set(without)
        return sum(one.size_bytes for key, one in self.held.items() if key not in gone)
