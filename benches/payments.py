"""Rows of numbers, drawn with a seed, and a small network that has learned a rule about them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benches.workloads import WORKLOADS
from millrace.udfs.models.model_folder import write_card
from millrace.udfs.models.model_loading import CARD

SEED = 7
HIDDEN = [128, 64]
WEIGHTS = "model.safetensors"
_TYPES = dict(
    zip(
        WORKLOADS["payments"].columns,
        ("double", "double", "int", "int", "bigint", "int"),
        strict=True,
    )
)
_TRAINED_ON, _STEPS = 20_000, 200


def rows(count: int) -> pa.Table:
    """``count`` payments; the first of them are the same, however many are asked for."""
    rng = np.random.default_rng(SEED)
    drawn = {
        "amount": np.round(rng.lognormal(3.5, 1.2, count), 2),
        "balance": np.round(rng.normal(1500, 900, count), 2),
        "hour": rng.integers(0, 24, count).astype(np.int32),
        "weekday": rng.integers(0, 7, count).astype(np.int32),
        "account_days": rng.integers(1, 4000, count),
        "foreign": (rng.random(count) < 0.08).astype(np.int32),
    }
    return pa.table({"payment_id": pa.array(range(count), pa.int64()), **drawn})


def write_model(folder: Path) -> None:
    """Train and write the network, unless it is there: how risky a payment is, as one number."""
    import torch

    from millrace.udfs.graphs.networks import build, save

    if (folder / CARD).is_file():
        return
    torch.manual_seed(SEED)
    table = rows(_TRAINED_ON)
    x = torch.stack([torch.tensor(table[name].to_numpy()).float() for name in _TYPES], dim=1)
    risk = (x[:, 0] / 200).clamp(max=1) * (1 + x[:, 5]) * (x[:, 2] < 6) + (x[:, 4] < 30).float()
    mean, spread = x.mean(dim=0), x.std(dim=0)
    scaled = (x - mean) / spread
    network = build("mlp", (len(_TYPES),), {"hidden": HIDDEN, "outputs": 1})
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(_STEPS):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(network(scaled)[:, 0], risk).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    _read_unscaled(network.get_submodule("layers.1"), mean, spread)
    folder.mkdir(parents=True, exist_ok=True)
    save(network, folder / WEIGHTS)
    write_card(
        folder,
        name="payments-risk",
        version="1",
        format="safetensors",
        architecture={"name": "mlp", "options": {"hidden": HIDDEN, "outputs": 1}},
        signature={
            "inputs": {name: {"type": kind} for name, kind in _TYPES.items()},
            "outputs": {"value": {"type": "float"}},
        },
        preprocess={"name": "columns"},
        postprocess={"name": "values"},
        licence="Apache-2.0",
    )


def _read_unscaled(first: Any, mean: Any, spread: Any) -> None:
    """Let the first layer read columns as they are: their scaling goes into its weights."""
    import torch

    with torch.no_grad():
        first.weight /= spread
        first.bias -= first.weight @ mean
