"""The number of tokens that a network has positions for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# The first positions of these are not for tokens: counting begins behind the pad token's number.
_OFFSET = (
    "camembert",
    "data2vec-text",
    "ibert",
    "longformer",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
)


def positions_of(config: Mapping[str, Any]) -> int | None:
    """Return the most tokens that a ``config.json`` allows; None if its network has no limit."""
    found = int(config.get("max_position_embeddings") or config.get("n_positions") or 0)
    if found <= 0:  # XLNet says -1
        return None
    if config.get("model_type") in _OFFSET:
        found -= int(config.get("pad_token_id") or 0) + 1
    return found
