"""Hand-tuned loops: what somebody gets who knows this model and this machine, and writes it out.

Texts: tokenised once, a process's whole share put together by length, batches cut by a budget of
tokens (longest x rows). Images: channels_last and larger batches. Each in fp32, in bf16, and with
OpenVINO in bf16, which needs neither torch nor transformers: the graph was exported beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benches.exported import graph_of
from benches.predictors import (
    MAX_TOKENS,
    SCALE,
    SHAPE,
    Outputs,
    classes,
    digits_network,
    docs_network,
    pooled,
)

BUDGET_TOKENS = 2048  # longest x rows of a batch of texts
BATCH_IMAGES = 256
# One thread a process, and no pinning: two processes would pin themselves to the same core.
OPENVINO: dict[str, Any] = {
    "INFERENCE_PRECISION_HINT": "bf16",
    "INFERENCE_NUM_THREADS": 1,
    "NUM_STREAMS": 1,
    "ENABLE_CPU_PINNING": False,
}
Computed = Callable[..., Any]  # arrays of one batch to its outputs


@dataclass(frozen=True)
class Tuned:
    """How a model is loaded, and how a table is put through it."""

    load: Callable[[Path], Computed]
    score: Callable[[Path, Computed, pa.Table], Outputs]  # outputs in the table's order


def texts(folder: Path, compute: Computed, rows: pa.Table) -> Outputs:
    """Embeddings, computed longest first under a budget of tokens."""
    ids = tokenised(folder, rows.column("text").to_pylist())
    index = list(budgeted([len(one) for one in ids]))
    found = [compute(*padded([ids[row] for row in at])) for at in index]
    back = np.argsort(np.concatenate(index), kind="stable")
    return {"embedding": np.concatenate(found)[back]}


def images(_folder: Path, compute: Computed, rows: pa.Table) -> Outputs:
    """Classes of images, ``BATCH_IMAGES`` at a time, without a Python object for each."""
    found = []
    for batch in rows.select(["pixels"]).to_batches(max_chunksize=BATCH_IMAGES):
        cells = batch.column(0)
        _, offsets, data = cells.buffers()
        start = np.frombuffer(offsets, np.int32)[cells.offset]
        pixels = np.frombuffer(data, np.uint8, len(cells) * int(np.prod(SHAPE)), start)
        found.append(compute(pixels.reshape(-1, *SHAPE)))
    return {name: np.concatenate([one[name] for one in found]) for name in found[0]}


def tokenised(folder: Path, cells: Sequence[str]) -> list[list[int]]:
    """Token ids of each text, by the Rust tokenizer alone."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    return [one.ids for one in tokenizer.encode_batch(list(cells))]


def budgeted(lengths: Sequence[int], budget: int = BUDGET_TOKENS) -> Iterator[NDArray[np.int64]]:
    """Positions, longest first, in batches whose padded size stays within ``budget`` tokens."""
    order = np.argsort(-np.asarray(lengths), kind="stable")
    start = 0
    while start < len(order):
        rows = max(1, budget // lengths[order[start]])
        yield order[start : start + rows]
        start += rows


def padded(ids: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Token ids and mask, each ``[rows, longest]``."""
    tokens = np.zeros((len(ids), max(map(len, ids))), np.int64)  # MiniLM's padding is token 0
    mask = np.zeros_like(tokens)
    for row, one in enumerate(ids):
        tokens[row, : len(one)] = one
        mask[row, : len(one)] = 1
    return tokens, mask


def _torch_texts(folder: Path, *, bf16: bool) -> Computed:
    import torch

    _, network = docs_network(folder)
    network = network.bfloat16() if bf16 else network

    @torch.inference_mode()
    def compute(tokens: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        there = torch.from_numpy(mask)
        states = network(input_ids=torch.from_numpy(tokens), attention_mask=there)[0]
        return pooled(states, there).numpy()  # type: ignore[no-any-return]

    return compute


def _torch_images(folder: Path, *, bf16: bool) -> Computed:
    import torch

    kind = torch.bfloat16 if bf16 else torch.float32
    network = digits_network(folder).to(dtype=kind, memory_format=torch.channels_last)

    @torch.inference_mode()
    def compute(pixels: NDArray[np.uint8]) -> Outputs:
        x = (torch.from_numpy(pixels.copy()).float() * SCALE).to(kind)
        return classes(network(x.contiguous(memory_format=torch.channels_last)))

    return compute


def _openvino(folder: Path) -> Callable[..., list[NDArray[Any]]]:
    """The exported graph, compiled; outputs in its order."""
    import openvino as ov

    request = ov.Core().compile_model(str(graph_of(folder)), "CPU", OPENVINO).create_infer_request()
    return lambda *arrays: [np.array(one) for one in request.infer(arrays).values()]


def _openvino_texts(folder: Path) -> Computed:
    graph = _openvino(folder)
    return lambda tokens, mask: graph(tokens, mask)[0]


def _openvino_images(folder: Path) -> Computed:
    graph = _openvino(folder)

    def compute(pixels: NDArray[np.uint8]) -> Outputs:
        (probabilities,) = graph(pixels)
        label = probabilities.argmax(axis=1)
        score = np.take_along_axis(probabilities, label[:, None], axis=1)[:, 0]
        return {"label": label.astype(np.int32), "score": score, "probabilities": probabilities}

    return compute


SCORERS: dict[tuple[str, str], Tuned] = {
    ("docs", "fp32"): Tuned(partial(_torch_texts, bf16=False), texts),
    ("docs", "bf16"): Tuned(partial(_torch_texts, bf16=True), texts),
    ("docs", "openvino"): Tuned(_openvino_texts, texts),
    ("digits", "fp32"): Tuned(partial(_torch_images, bf16=False), images),
    ("digits", "bf16"): Tuned(partial(_torch_images, bf16=True), images),
    ("digits", "openvino"): Tuned(_openvino_images, images),
}
