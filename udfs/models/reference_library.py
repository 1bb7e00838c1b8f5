"""The reference of an import: outputs of a Hugging Face folder's own library, one text at a time."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from millrace.schemas.model import ModelCard
from millrace.schemas.steps import EmbedOptions, TokensOptions
from millrace.udfs.backends.hardware import has_package
from millrace.udfs.tokenization.tokenizer import cut_texts

_LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
_SENTENCES = "sentence_transformers"


def longest_of(card: ModelCard) -> int:
    """Return the most tokens of a text, which an import's card has."""
    found = cast("TokensOptions", card.preprocess.options).max_tokens
    if found is None:
        raise AssertionError("an import's card has max_tokens")
    return found


@dataclass(frozen=True)
class LibraryOutputs:
    """Token ids of every text, and the network's outputs for the first of them, ``[texts, ...]``."""

    library: str
    version: str
    ids: list[list[int]]
    outputs: NDArray[np.float32]


def reference(
    source: Path, card: ModelCard, tokenizer: Any, texts: Sequence[str], computed: int
) -> LibraryOutputs:
    """Compute the library's ids of ``texts``, and its outputs for the first ``computed`` ones.

    ``tokenizer`` is that of Transformers. Errors of the library are not caught.
    """
    longest, prompt = longest_of(card), cast("TokensOptions", card.preprocess.options).prompt
    has_sentences = (source / "modules.json").is_file() and has_package(_SENTENCES)
    with _quiet(), torch.inference_mode():
        if has_sentences:
            return _by_sentences(source, texts, longest, prompt, computed)
        prompted = [prompt + text for text in texts]
        ids, _ = cut_texts(tokenizer, prompted, longest)
        run = _vectors if card.postprocess.name == "embed" else _scores
        outputs = run(source, card, tokenizer, prompted[:computed])
    return LibraryOutputs("transformers", version("transformers"), ids, outputs)


def _by_sentences(
    source: Path, texts: Sequence[str], longest: int, prompt: str, computed: int
) -> LibraryOutputs:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(source), device="cpu", **_LOCAL)
    model.max_seq_length = longest
    ids, _ = cut_texts(model.tokenizer, [prompt + text for text in texts], longest)
    outputs = model.encode(
        list(texts[:computed]), prompt=prompt, batch_size=1, show_progress_bar=False
    )
    library = _SENTENCES.replace("_", "-")
    return LibraryOutputs(library, version(library), ids, np.asarray(outputs, np.float32))


def _scores(
    source: Path, card: ModelCard, tokenizer: Any, texts: Sequence[str]
) -> NDArray[np.float32]:
    """Scores of all labels ``[texts, labels]`` by Transformers' pipeline, which reads ``problem_type``."""
    from transformers import AutoModelForSequenceClassification, pipeline

    network = _network(AutoModelForSequenceClassification, source)
    run = pipeline("text-classification", model=network, tokenizer=tokenizer, device="cpu")
    names = network.config.id2label
    longest = longest_of(card)
    rows = []
    for text in texts:
        labelled = run(text, top_k=None, truncation=True, max_length=longest)
        by_name = {one["label"]: one["score"] for one in labelled}
        rows.append([by_name[names[number]] for number in range(len(names))])
    return np.array(rows, np.float32)


def _vectors(
    source: Path, card: ModelCard, tokenizer: Any, texts: Sequence[str]
) -> NDArray[np.float32]:
    """Vectors ``[texts, dimensions]`` of the network's last states, pooled over all tokens of one text."""
    from transformers import AutoModel

    network, options = _network(AutoModel, source), cast("EmbedOptions", card.postprocess.options)
    longest = longest_of(card)
    rows = []
    for text in texts:
        tokens = tokenizer(text, truncation=True, max_length=longest, return_tensors="pt")
        states = network(**tokens).last_hidden_state[0]
        vector = states[0] if options.pooling == "first" else states.mean(dim=0)
        rows.append(vector / vector.norm() if options.normalize else vector)
    return np.asarray(torch.stack(rows).numpy(), np.float32)


def _network(kind: Any, source: Path) -> Any:
    return kind.from_pretrained(
        str(source), **_LOCAL, use_safetensors=True, dtype=torch.float32
    ).eval()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the libraries' progress bars and notes: what matters of them is compared."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    loggers = [logging.getLogger(name) for name in ("transformers", _SENTENCES)]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
