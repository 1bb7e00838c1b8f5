"""Training the shipped CNN on images of digits, always the same way; writing its model folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import nn
from torch.nn.functional import cross_entropy

from millrace.examples.files import only, say, write_same
from millrace.examples.recipes import RECIPE
from millrace.udfs.graphs.networks import build, save
from millrace.udfs.models.model_folder import write_card
from millrace.udfs.models.model_loading import CARD

Images = NDArray[np.uint8]  # [n, 1, 28, 28], 0 is paper and 255 is ink
Labels = NDArray[np.int64]  # [n], 0 to 9
EpochReport = Callable[[int, float], None]  # epochs done, mean loss of the last one

SHAPE = (1, 28, 28)
SCALE = 1 / 255
SIZES: dict[str, Any] = {"channels": [32, 64], "dense": 64, "classes": 10}
WEIGHTS = "model.safetensors"
_BATCH = 64
_PEAK_RATE = 3e-3


def train_cnn(
    images: Images, labels: Labels, *, epochs: int, seed: int, progress: EpochReport | None = None
) -> nn.Module:
    """The shipped CNN, trained with Adam on cross-entropy; the same seed gives the same weights.

    ``images`` is uint8 ``[n, 1, 28, 28]``, ``labels`` ``[n]``. On one core, so that neither the
    number of cores nor a busy neighbour changes a sum's order; with a learning rate that rises and
    falls once. The caller's random state and threads are left as they were.
    """
    x, y = _scaled(images), torch.from_numpy(labels)
    with _one_core(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build("cnn", SHAPE, SIZES).train()
        optimizer = torch.optim.Adam(network.parameters(), lr=_PEAK_RATE)
        steps = -(-len(x) // _BATCH)
        rate = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, _PEAK_RATE, epochs=epochs, steps_per_epoch=steps
        )
        for epoch in range(1, epochs + 1):
            total = 0.0
            for rows in torch.split(torch.randperm(len(x)), _BATCH):
                loss = cross_entropy(network(x[rows]), y[rows])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                rate.step()
                total += loss.item() * len(rows)
            if progress:
                progress(epoch, total / len(x))
    return network.eval()


@torch.inference_mode()
def accuracy(network: nn.Module, images: Images, labels: Labels) -> float:
    """The share of images, 0 to 1, whose likeliest class is their label."""
    guesses = [network(x).argmax(dim=1) for x in torch.split(_scaled(images), 256)]
    return float(np.mean(torch.cat(guesses).numpy() == labels))


def write_cnn_model(
    folder: Path, network: nn.Module, name: str, metrics: Mapping[str, float], recipe: str = ""
) -> None:
    """Write weights and ``model.yaml``; ``recipe`` is what `recipes.reusable` compares later."""
    only(folder, [WEIGHTS, RECIPE, CARD])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    save(network, folder / WEIGHTS)
    (folder / WEIGHTS).chmod(
        0o644
    )  # safetensors writes for its owner alone; executors may be another
    write_same(folder / RECIPE, recipe.encode())
    write_card(
        folder,
        name=name,
        version="1",
        format="safetensors",
        architecture={"name": "cnn", "options": SIZES},
        signature={
            "inputs": {
                "pixels": {"type": "binary", "shape": SHAPE, "comment": "0 is paper, 255 is ink"}
            },
            "outputs": {
                "label": {"type": "int", "comment": "the likeliest digit"},
                "score": {"type": "float", "comment": "its probability, 0 to 1"},
                "probabilities": {"type": "array<float>", "shape": [SIZES["classes"]]},
            },
        },
        preprocess={"name": "pixels", "options": {"scale": SCALE}},
        postprocess={"name": "classify"},
        licence="Apache-2.0",
        metrics=dict(metrics),
    )


@contextmanager
def epoch_reporter(epochs: int) -> Iterator[EpochReport]:
    """A bar on standard error with epochs and loss; where that is no terminal, a line an epoch."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda epoch, loss: say(f"training: epoch {epoch} of {epochs}, loss {loss:.4f}")
        return
    columns = (
        TextColumn("training"),
        BarColumn(),
        TextColumn("epoch {task.completed}/{task.total}"),
        TextColumn("loss {task.fields[loss]:.4f}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("training", total=epochs, loss=float("nan"))
        yield lambda epoch, loss: bar.update(task, completed=epoch, loss=loss)


@contextmanager
def _one_core() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _scaled(images: Images) -> torch.Tensor:
    """float32 ``[n, 1, 28, 28]``, scaled as ``model.yaml`` says that a worker will."""
    if images.dtype != np.uint8 or images.shape[1:] != SHAPE:
        raise ValueError(f"images are {images.dtype} {images.shape}, expected uint8 (n, 1, 28, 28)")
    return torch.from_numpy(images.astype(np.float32)) * SCALE
