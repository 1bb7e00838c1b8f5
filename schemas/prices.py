"""Price books: the price of a machine's hour over time, and its split into cores, memory and GPUs."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, date, datetime, time
from decimal import Decimal
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from millrace.schemas.focus import Category
from millrace.schemas.frozen import Frozen
from millrace.schemas.ids import digest

PLACES = Decimal("0.000000000001")  # decimal(38,12), as in the ledger
SECONDS_AN_HOUR = 3600

Meter = Literal["Core", "Memory", "GPU"]
METERS: dict[Meter, str] = {"Core": "Core-Seconds", "Memory": "GB-Seconds", "GPU": "GPU-Seconds"}


def _moment(value: Any) -> Any:
    """A date as its midnight in UTC; a time as it is."""
    if isinstance(value, int | float):  # which pydantic would take for seconds since 1970
        raise ValueError("not a time; allowed: 2026-01-31, or 2026-01-31T12:00:00Z")  # noqa: TRY004
    if isinstance(value, str) and "T" not in value.upper() and " " not in value.strip():
        value = date.fromisoformat(value.strip())
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime.combine(value, time(), UTC)
    return value


def _utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("a time needs its zone: 2026-01-31T12:00:00Z; allowed: a date, or that")
    return value.astimezone(UTC)


Moment = Annotated[datetime, BeforeValidator(_moment), AfterValidator(_utc)]
Amount = Annotated[Decimal, Field(ge=0, le=10**6)]
Watts = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
Name = Annotated[str, Field(pattern=r"^[^/\s]+$")]  # a slash separates the parts of a SkuPriceId


class Instance(Frozen):
    """One machine type at one price for a time. Component prices are weights: scaled to the node's."""

    sku: Name
    region: Name
    vcpus: int = Field(ge=1, le=100_000)
    memory_gb: Annotated[Amount, Field(decimal_places=4)]
    gpus: int = Field(default=0, ge=0, le=1000)
    price_per_hour: Amount
    category: Category = "Standard"
    valid_from: Moment  # inclusive
    valid_to: Moment | None = None  # exclusive; None: until further notice
    source: Annotated[str, Field(min_length=1)]
    core_weight: Amount = Decimal("0.031")
    gb_weight: Amount = Decimal("0.0042")
    gpu_weight: Amount = Decimal("0.8")
    idle_watts: Watts | None = None  # of the whole node
    full_watts: Watts | None = None  # of the whole node, all cores and GPUs at work
    gpu_idle_watts: Watts | None = None  # of idle_watts, what one GPU draws
    gpu_full_watts: Watts | None = None  # of full_watts
    power_source: str | None = None  # who says so, and when

    @model_validator(mode="after")
    def _is_sound(self) -> Instance:
        if self.valid_to is not None and self.valid_to <= self.valid_from:
            raise ValueError(f"{self.title}: valid_to must be after valid_from")
        for idle, full, name in (
            (self.idle_watts, self.full_watts, ""),
            (self.gpu_idle_watts, self.gpu_full_watts, "gpu_"),
        ):
            if (idle, full) != (None, None) and not self.power_source:
                raise ValueError(f"{self.title}: watts need a power_source: who says so, and when")
            if idle is not None and full is not None and full < idle:
                raise ValueError(
                    f"{self.title}: {name}full_watts must be at least {name}idle_watts"
                )
        return self._with_gpus_within()

    def _with_gpus_within(self) -> Instance:
        """What the GPUs draw is a part of what the node draws, idle and at work."""
        gpu, node = self.gpu_watts, self.watts
        if gpu is None and (self.gpu_idle_watts, self.gpu_full_watts) != (None, None):
            raise ValueError(
                f"{self.title}: gpu_idle_watts and gpu_full_watts go together, on a machine with GPUs"
            )
        if gpu is not None:
            if node is None:
                raise ValueError(f"{self.title}: a GPU's watts need idle_watts and full_watts too")
            rest = [whole - self.gpus * one for whole, one in zip(node, gpu, strict=True)]
            if min(rest) < 0 or rest[1] < rest[0]:
                raise ValueError(
                    f"{self.title}: its {self.gpus} GPUs draw more than idle_watts or full_watts "
                    "leave for them"
                )
        return self

    @property
    def title(self) -> str:
        """Return a text that identifies the entry."""
        until = f" until {_iso(self.valid_to)}" if self.valid_to else " on"
        return f"{self.sku} in {self.region} ({self.category}) from {_iso(self.valid_from)}{until}"

    def covers(self, start: datetime, end: datetime | None = None) -> bool:
        """Whether this price applies at ``start``, and until ``end``."""
        begun = self.valid_from <= start and (self.valid_to is None or start < self.valid_to)
        return begun and (end is None or self.valid_to is None or end <= self.valid_to)

    @property
    def core_second(self) -> Decimal:
        """Price of one core for one second."""
        return self._per_second(self._shares[0])

    @property
    def gb_second(self) -> Decimal:
        """Price of one GB of memory for one second."""
        return self._per_second(self._shares[1])

    @property
    def gpu_second(self) -> Decimal:
        """Price of one GPU for one second; 0 where the machine has none."""
        return self._per_second(self._shares[2])

    @property
    def node_second(self) -> Decimal:
        """Price of the whole machine for one second."""
        return self._per_second(Decimal(1))

    @property
    def gb_per_core(self) -> Decimal:
        """GB of memory per core."""
        return self.memory_gb / self.vcpus

    @property
    def gpus_per_core(self) -> Decimal:
        """GPUs per core."""
        return Decimal(self.gpus) / self.vcpus

    @property
    def watts(self) -> tuple[float, float] | None:
        """Return the power of the whole node, idle and at full load; None if the book has none."""
        if self.idle_watts is None or self.full_watts is None:
            return None
        return self.idle_watts, self.full_watts

    @property
    def gpu_watts(self) -> tuple[float, float] | None:
        """Return the power of one GPU, idle and at full load; None if the book has none."""
        if not self.gpus or self.gpu_idle_watts is None or self.gpu_full_watts is None:
            return None
        return self.gpu_idle_watts, self.gpu_full_watts

    def price_id(self, meter: Meter) -> str:
        """Return the id of a price: of a sku in a region, for a meter."""
        return f"{self.sku}/{self.region}/{meter}"

    def unit_price(self, meter: Meter) -> Decimal:
        """Price of one unit of a meter: a core, a GB or a GPU, for one second."""
        return {"Core": self.core_second, "Memory": self.gb_second, "GPU": self.gpu_second}[meter]

    def per_core(self, meter: Meter) -> Decimal:
        """Return the units of a meter per core."""
        return {"Core": Decimal(1), "Memory": self.gb_per_core, "GPU": self.gpus_per_core}[meter]

    @property
    def _shares(self) -> tuple[Decimal, Decimal, Decimal]:
        """The share of the node's price that one core carries, one GB, and one GPU."""
        cores, gbs = self.core_weight * self.vcpus, self.gb_weight * self.memory_gb
        gpus = self.gpu_weight * self.gpus
        if not (weights := cores + gbs + gpus):
            # nothing to split by: the cores carry it all, so that none of it vanishes
            return Decimal(1) / self.vcpus, Decimal(0), Decimal(0)
        gpu = self.gpu_weight / weights if self.gpus else Decimal(0)
        gb = self.gb_weight / weights if self.memory_gb else Decimal(0)
        return self.core_weight / weights, gb, gpu

    def _per_second(self, share: Decimal) -> Decimal:
        return (self.price_per_hour * share / SECONDS_AN_HOUR).quantize(PLACES)


class Region(Frozen):
    """Properties of electricity in a region: for energy and carbon, not for the price."""

    grid_g_per_kwh: Annotated[float, Field(ge=0, le=3000, allow_inf_nan=False)]  # g CO2e a kWh
    pue: Annotated[float, Field(ge=1, le=10, allow_inf_nan=False)]  # whole site / machines
    source: Annotated[str, Field(min_length=1)]


class PriceBook(Frozen):
    """Prices in one currency over time, and properties of electricity in their regions."""

    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    instances: tuple[Instance, ...] = Field(min_length=1)
    regions: dict[str, Region] = {}

    @model_validator(mode="after")
    def _one_price_at_a_time(self) -> PriceBook:
        alike = defaultdict(list)
        for one in self.instances:
            alike[one.sku, one.region, one.category].append(one)
        for entries in alike.values():
            for one, after in pairwise(sorted(entries, key=lambda one: one.valid_from)):
                if one.valid_to is None or after.valid_from < one.valid_to:
                    raise ValueError(
                        f"two prices at the same time: {one.title}, {one.price_per_hour} an hour; "
                        f"and {after.title}, {after.price_per_hour} an hour; "
                        "end the first with valid_to where the second begins"
                    )
        if unused := sorted(set(self.regions) - {one.region for one in self.instances}):
            raise ValueError(f"regions that no instance is in: {', '.join(unused)}")
        return self

    @property
    def version(self) -> str:
        """Return a hash of the book's content (hex, 16 characters), independent of the order of entries."""
        content = self.model_dump(mode="json")
        return digest({**content, "instances": sorted(content["instances"], key=digest)})[:16]


def _iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z").replace("T00:00:00Z", "")
