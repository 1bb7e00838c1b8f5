"""Options of the ``generate`` step: how a causal model generates text."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from millrace.schemas.options import Options

# What the step gives of a row. `finish` says why its text ends: the model's own end token (`eos`),
# one of the texts in `stop`, or `max_new_tokens` (`length`).
FINISHES = ("eos", "stop", "length")
_SAMPLES = ("temperature", "top_k", "top_p", "seed")


class Generation(Options):
    """The options of ``generate``. Sampling settings are refused where nothing is sampled."""

    max_new_tokens: Annotated[int, Field(ge=1)]  # no default: it bounds what a row can cost
    do_sample: bool = False
    temperature: Annotated[float, Field(gt=0)] = 1.0
    top_k: Annotated[int, Field(ge=0)] = 0  # 0: all
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] = 0
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = ()  # not in the text that is given
    max_rows: Annotated[int, Field(ge=1)] = 64  # in flight at the same time
    cache_mib: Annotated[int, Field(ge=1)] = 1024  # for the keys and values of the rows in flight

    @model_validator(mode="after")
    def _sampling_needs_do_sample(self) -> Generation:
        set_options = [name for name in _SAMPLES if name in self.model_fields_set]
        if set_options and not self.do_sample:
            raise ValueError(f"{', '.join(set_options)}: read only with do_sample: true")
        return self
