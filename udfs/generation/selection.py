"""Which class writes texts for a runtime."""

from __future__ import annotations

from pathlib import Path

from schemas.model import ModelCard
from udfs.models.causal import CausalModel
from udfs.models.runtimes import resolved
from udfs.models.vllm_backend import VllmModel
from udfs.plan import Runtime

WRITERS: dict[str, type[CausalModel | VllmModel]] = {"torch": CausalModel, "vllm": VllmModel}


def writer(folder: Path, card: ModelCard, runtime: Runtime) -> CausalModel | VllmModel:
    """The loaded model. Raises RunFailed for a runtime that cannot be had here."""
    decided = resolved(card, runtime)
    return WRITERS[decided.backend](folder, card, decided)
