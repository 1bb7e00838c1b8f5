"""Prometheus' text format: families of samples, each with its help, type and labels."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


@dataclass
class Family:
    """One metric: what it is called, what it means with its unit, and its samples by label."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    samples: list[tuple[Mapping[str, str], float]] = field(default_factory=list)

    def add(self, value: float | Decimal | bool | None, **labels: str | None) -> None:
        """One sample; none where the value is not known. A label that is not known is empty."""
        if value is not None and not (isinstance(value, float) and math.isnan(value)):
            self.samples.append(({name: text or "" for name, text in labels.items()}, float(value)))


def text(families: Iterable[Family]) -> str:
    """All families that have samples, in their order. Raises ValueError for a name that is none."""
    return "".join(map(_family, families))


def _family(family: Family) -> str:
    if not _NAME.fullmatch(family.name) or (
        family.name.endswith("_total") != (family.kind == "counter")
    ):
        raise ValueError(f"{family.name} is no name of a {family.kind}")
    if not family.samples:
        return ""
    told = family.help.replace("\\", r"\\").replace("\n", r"\n")
    lines = [f"# HELP {family.name} {told}", f"# TYPE {family.name} {family.kind}"]
    lines += [f"{family.name}{_labels(labels)} {value!r}" for labels, value in family.samples]
    return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    inside = ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items())
    return f"{{{inside}}}" if inside else ""
