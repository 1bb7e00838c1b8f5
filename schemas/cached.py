"""The table that caches a model's outputs, each once, by the hash of its input."""

from __future__ import annotations

from millrace.schemas.model import Signature
from millrace.schemas.tables import Column, Table

KEY = "input"  # in the cache; `_input` in a predictions table
_DIGITS = 16  # of the model's digest


def cache(model_digest: str, signature: Signature) -> Table:
    """Return the cache of one model. Outputs are in a struct, so that their names conflict with no column."""
    fields = ",".join(f"{name}:{spec.type}" for name, spec in signature.outputs.items())
    return Table(
        f"cache_{model_digest[:_DIGITS]}",
        "the outputs of one model for one input, computed in one way",
        (
            Column(KEY, "binary", "128 bits of sha256 over the model's inputs, types included"),
            Column("computed_with", "string", "model, backend, precision and device"),
            Column("outputs", f"struct<{fields}>", "what the model gave"),
            Column("run_id", "string", "the run that computed it"),
            Column("at", "timestamp", "when that run's inference of the unit began, UTC"),
        ),
    )
