"""Receivers of a run's metrics and lineage, besides its tables. There are none by default."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from millrace.schemas.frozen import Frozen

Destination = Annotated[str, Field(min_length=1)]


class Observe(Frozen):
    """The job's ``observe`` section."""

    metrics: Destination | None = (
        None  # a file, Prometheus' text format; the whole lake's, after each run
    )
    openlineage: Destination | None = (
        None  # a URL that events are sent to, or a file that gets a line each
    )
    openlineage_timeout_s: float = Field(
        default=3.0, gt=0, le=60
    )  # that a run may wait for it, in all

    @model_validator(mode="after")
    def _receiver_can_be_reached(self) -> Observe:
        scheme, marked, _ = (self.openlineage or "").partition("://")
        if marked and scheme.lower() not in (
            "http",
            "https",
        ):  # without the URL: it may have a password
            raise ValueError("openlineage: allowed are http://, https:// and the path of a file")
        return self
