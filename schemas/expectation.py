"""An expectation of a contract: a Great Expectations class with its arguments."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from millrace.schemas.expectations import (
    EVALUATIONS,
    SPLITTING,
    Evaluation,
    columns_of,
    why_refused,
)
from millrace.schemas.ids import short_digest


class Expectation(BaseModel):
    """A Great Expectations class by name; every other key is an argument of that class."""

    model_config = ConfigDict(frozen=True, extra="allow")

    expect: Annotated[str, Field(pattern=r"^Expect[A-Za-z]+$")]
    severity: Literal["critical", "warning", "info"] = "critical"

    @model_validator(mode="after")
    def _can_be_answered(self) -> Expectation:
        if why := why_refused(self.expect, self.arguments):
            raise ValueError(why)
        if dotted := [name for name in self.columns if set(name) & set(".`")]:
            raise ValueError(
                f"{self.expect}: Great Expectations cannot read columns with . or ` in their names: "
                f"{', '.join(dotted)}; write a rule"
            )
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns that it names."""
        return columns_of(self.arguments)

    @property
    def name(self) -> str:
        """Return its columns and its class, joined by dots."""
        return ".".join((*self.columns, self.expect))

    @property
    def evaluation(self) -> Evaluation:
        """Return how it is evaluated."""
        return EVALUATIONS[self.expect]

    @property
    def splits(self) -> bool:
        """Whether it is about each row: rows that break it are refused, or tagged."""
        return self.evaluation in SPLITTING

    @property
    def fingerprint(self) -> str:
        """Return the sha256 (hex, 16 characters) of class, arguments and severity."""
        return short_digest(self.model_dump(mode="json"))

    @property
    def arguments(self) -> dict[str, Any]:
        """Return the arguments of its class, without severity."""
        return dict(self.model_extra or {})
