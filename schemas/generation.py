"""How a causal model writes: the options of the ``generate`` step, checked before any worker starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from schemas.contract import Frozen

# What the step gives of a row. `finish` says why its text ends: the model's own end token (`eos`),
# one of the texts in `stop`, or `max_new_tokens` (`length`).
FINISHES = ("eos", "stop", "length")
_SAMPLES = ("temperature", "top_k", "top_p", "seed")


class Generation(Frozen):
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
    def _sampling_is_asked_for(self) -> Generation:
        given = [name for name in _SAMPLES if name in self.model_fields_set]
        if given and not self.do_sample:
            raise ValueError(f"{', '.join(given)}: read only with do_sample: true")
        return self


def check_generate(options: Mapping[str, Any], prompt_options: Mapping[str, Any]) -> None:
    """Raise ValueError, in one line, for options of ``generate`` or of its prompts that cannot be."""
    try:
        Generation.model_validate(options)
    except ValidationError as error:
        told = [
            f"{'.'.join(map(str, one['loc'])) or 'options'}: {one['msg'].removeprefix('Value error, ')}"
            for one in error.errors()
        ]
        raise ValueError(f"postprocess generate: {'; '.join(told)}") from None
    side = prompt_options.get("truncate")
    if side not in (None, "left", "right"):
        raise ValueError(f"preprocess tokens: truncate is {side!r}; allowed: left, right")
    longest = prompt_options.get("max_tokens", 1)
    if not isinstance(longest, int) or longest < 1:
        raise ValueError(f"preprocess tokens: max_tokens is {longest!r}; allowed: at least 1")
