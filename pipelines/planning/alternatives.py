"""What a run would take and cost elsewhere: on other instances, on more executors. Pure functions.

The part of a run's time that grows with its rows is divided by the slots; what stands before it is not.
A core of another instance is taken to be as fast as one here, unless a past run there shows otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from millrace.pipelines.accounting.rates import second
from millrace.pipelines.inference.time_model import Estimate, RunTimeModel, Workload
from millrace.schemas.prices import PLACES, Instance

EXECUTORS = (1, 2, 4, 8, 16)
_OTHER_CORES = 0.25  # by so much, relatively, another machine's core may be slower or faster
_OTHER_SLOTS = 0.10  # and by so much other numbers of slots scale otherwise than assumed


@dataclass(frozen=True)
class Offer:
    """A place to run, with its time and cost; ``speed``: of a core there, one here being 1."""

    name: str
    executors: int
    slots: int
    seconds: Estimate
    cost: Estimate | None  # in the price book's currency; None: no price
    speed: float = 1.0
    is_measured: bool = False  # the speed, by a past run there
    is_here: bool = False

    @property
    def label(self) -> str:
        """Name and number."""
        return self.name if self.executors == 1 else f"{self.executors} \u00d7 {self.name}"


@dataclass(frozen=True)
class RunEstimate:
    """A whole run as it was foreseen here."""

    shape: RunTimeModel
    amount: Workload
    units: int
    seconds: Estimate


def here(whole: RunEstimate, name: str, instance: Instance | None) -> Offer:
    """This session."""
    slots = whole.shape.slots
    cost = None if instance is None else whole.seconds.times(float(second(instance, slots)))
    return Offer(name, 1, slots, whole.seconds, cost, is_measured=True, is_here=True)


def elsewhere(
    whole: RunEstimate, instances: Iterable[Instance], speeds: Mapping[str, float]
) -> list[Offer]:
    """Each instance with 1, 2, 4 ... executors; ``speeds``: of those that have a past run, by sku."""
    return [
        _offer(whole, instance, executors, speeds.get(instance.sku))
        for instance in instances
        for executors in EXECUTORS
    ]


def _offer(whole: RunEstimate, instance: Instance, executors: int, speed: float | None) -> Offer:
    slots = executors * instance.vcpus
    shape, estimate = whole.shape, whole.seconds
    units = max(1, math.ceil(whole.units * shape.slots / slots))
    effective = slots * (speed or 1.0)
    foreseen = shape.once_s + shape.unit_s * units
    foreseen += shape.growing.growing_s(whole.amount) * shape.slots / effective
    past = estimate.mid / shape.seconds(
        whole.amount, whole.units, shape.slots
    )  # as past runs corrected it
    unsure = math.hypot(
        0.0 if speed else _OTHER_CORES, 0.0 if slots == shape.slots else _OTHER_SLOTS
    )
    seconds = widened(estimate.times(foreseen * past / estimate.mid), unsure)
    cost = seconds.times(float(second(instance, slots)))
    return Offer(instance.sku, executors, slots, seconds, cost, speed or 1.0, speed is not None)


def widened(estimate: Estimate, relative: float) -> Estimate:
    """The interval made wider by another error that is independent of its own."""
    factor = math.exp(math.hypot(math.log(estimate.high / estimate.mid), 1.282 * relative))
    return Estimate(estimate.mid / factor, estimate.mid, estimate.mid * factor)


def front(offers: Sequence[Offer]) -> list[Offer]:
    """Those of which no other is both as quick and as cheap; quickest first."""
    found: list[Offer] = []
    for offer in sorted(offers, key=lambda one: (one.seconds.mid, _cost(one))):
        if offer.cost is not None and (not found or _cost(offer) < _cost(found[-1])):
            found.append(offer)
    return found


def cheapest(offers: Sequence[Offer], deadline_s: float | None) -> Offer | None:
    """The cheapest whose interval ends before the deadline; None: there is none."""
    within = [
        one
        for one in offers
        if one.cost is not None and (deadline_s is None or one.seconds.high <= deadline_s)
    ]
    return min(within, key=lambda one: (_cost(one), one.seconds.mid), default=None)


def money(value: float) -> Decimal:
    """An amount of money as the ledger has it."""
    return Decimal(str(value)).quantize(PLACES)


def _cost(offer: Offer) -> float:
    return math.inf if offer.cost is None else offer.cost.mid
