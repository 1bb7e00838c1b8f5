"""Selects the class that generates texts for a runtime."""

from __future__ import annotations

from pathlib import Path

from millrace.schemas.model import ModelCard
from millrace.udfs.backends.runtimes import resolved
from millrace.udfs.generation.causal_model import CausalModel
from millrace.udfs.generation.vllm_backend import VllmModel
from millrace.udfs.runtime.plan import Runtime

WRITERS: dict[str, type[CausalModel | VllmModel]] = {"torch": CausalModel, "vllm": VllmModel}


def writer(folder: Path, card: ModelCard, runtime: Runtime) -> CausalModel | VllmModel:
    """Load the model. Raises RunFailed for a runtime that is not available."""
    decided = resolved(card, runtime)
    return WRITERS[decided.backend](folder, card, decided)
