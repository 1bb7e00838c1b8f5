"""Price books: what an hour of a machine costs, and how that splits into cores and memory."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Annotated

from pydantic import Field

from schemas.contract import Frozen
from schemas.ids import digest

PLACES = Decimal("0.000000000001")  # decimal(38,12), as in the ledger
SECONDS_AN_HOUR = 3600

Amount = Annotated[Decimal, Field(ge=0)]


class Instance(Frozen):
    """One machine type at one price. Component prices are weights: they are scaled to the node's."""

    sku: str
    region: str
    vcpus: int = Field(ge=1)
    memory_gb: Amount
    price_per_hour: Amount
    category: str = "Standard"
    valid_from: date
    valid_to: date | None = None
    source: str
    core_weight: Amount = Decimal("0.031")
    gb_weight: Amount = Decimal("0.0042")

    @property
    def core_second(self) -> Decimal:
        """Price of one core for one second."""
        return self._per_second(self._shares[0])

    @property
    def gb_second(self) -> Decimal:
        """Price of one GB of memory for one second."""
        return self._per_second(self._shares[1])

    @property
    def gb_per_core(self) -> Decimal:
        """GB of memory that are held with each core."""
        return self.memory_gb / self.vcpus

    @property
    def _shares(self) -> tuple[Decimal, Decimal]:
        """The share of the node's price that one core carries, and one GB."""
        weights = self.core_weight * self.vcpus + self.gb_weight * self.memory_gb
        if not weights:  # nothing to split by: the cores carry it all, so that none of it vanishes
            return Decimal(1) / self.vcpus, Decimal(0)
        return self.core_weight / weights, self.gb_weight / weights

    def _per_second(self, share: Decimal) -> Decimal:
        return (self.price_per_hour * share / SECONDS_AN_HOUR).quantize(PLACES)


class PriceBook(Frozen):
    """Prices from one source on one date, in one currency."""

    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    instances: tuple[Instance, ...] = Field(min_length=1)

    @property
    def version(self) -> str:
        """Hash of the whole book (hex, 16 characters)."""
        return digest(self.model_dump(mode="json"))[:16]
