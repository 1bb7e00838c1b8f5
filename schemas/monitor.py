"""What a job watches: how far its input and outputs may be from a baseline run's, and what outputs may be."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from millrace.schemas.frozen import Frozen

# The end of a range: infinite where there is no bound on that side.
End = Annotated[float, Field(allow_inf_nan=True)]
Share = Annotated[float, Field(ge=0, le=1)]


class Drift(Frozen):
    """Which columns are measured, and how far each may be from the baseline's."""

    columns: tuple[str, ...] | Literal["all"] = "all"  # of the input; all: those with a measure
    psi: float = Field(default=0.2, gt=0)  # population stability index, natural units
    ks: Share = 0.15  # Kolmogorov-Smirnov: largest difference of cumulative shares
    js: Share = 0.2  # Jensen-Shannon distance, the root of bits
    missing: Share = 0.05  # difference of the shares of null, NaN and infinite values
    on_drift: Literal["warn", "refuse"] = "warn"


class Outputs(Frozen):
    """What a unit's outputs must be, whatever the baseline; None: anything."""

    max_nan_share: Share | None = None  # of rows whose output is NaN, infinite or misshapen
    min_classes: int | None = Field(default=None, ge=2)  # different values of the output `label`
    ranges: dict[str, tuple[End, End]] = {}  # by output: least and largest number allowed
    min_rows: int = Field(default=100, ge=1)  # a unit with fewer says nothing of its classes
    action: Literal["warn", "stop"] = "warn"  # stop: before the unit is committed

    @model_validator(mode="after")
    def _ranges_go_up(self) -> Outputs:
        for name, (least, largest) in self.ranges.items():
            if not least <= largest:
                raise ValueError(f"ranges.{name}: {least} to {largest} goes down")
        return self


class Monitor(Frozen):
    """The job's ``monitor`` section; without it nothing is measured."""

    drift: Drift = Drift()
    outputs: Outputs = Outputs()
