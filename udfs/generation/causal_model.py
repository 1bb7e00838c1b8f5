"""Text generation: a Hugging Face causal model, many rows at a time, each as if it were alone."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from millrace.schemas.errors import ModelError
from millrace.schemas.generation import Generation
from millrace.schemas.model import ModelCard
from millrace.schemas.steps import TokensOptions
from millrace.udfs.backends.runtimes import resolved
from millrace.udfs.generation.continuous_batching import Row, Rules, Writer
from millrace.udfs.generation.kv_cache import SPARE_COLUMNS, Slots, bytes_per_token
from millrace.udfs.generation.prompts import PromptDecoder
from millrace.udfs.generation.sampling import chooser, draw_of
from millrace.udfs.runtime.examples import Examples, Values
from millrace.udfs.runtime.plan import Runtime

# Each task has its own cores; a tokenizer with threads of its own would take its neighbour's.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a model is what its folder holds, and nothing else

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_ATTENTION = {"full_attention", "sliding_attention"}
# Settings of generation_config.json that Millrace does not implement, with their neutral values.
_NOT_DONE: dict[str, tuple[Any, ...]] = {
    "repetition_penalty": (1.0,), "no_repeat_ngram_size": (0,), "num_beams": (1,), "min_length": (0,),
    "min_new_tokens": (0,), "bad_words_ids": (), "forced_bos_token_id": (), "forced_eos_token_id": (),
    "suppress_tokens": ([],), "begin_suppress_tokens": ([],), "sequence_bias": (), "stop_strings": (),
    "guidance_scale": (1.0,), "exponential_decay_length_penalty": (), "encoder_repetition_penalty": (1.0,),
}  # fmt: skip


class CausalModel:
    """A causal model with its tokenizer, on one device.

    ``takes_windows``: `predict` orders and batches its rows itself, and should get all rows of a window.
    """

    takes_windows = True

    def __init__(self, folder: Path, card: ModelCard, runtime: Runtime) -> None:
        self.card, self.runtime = card, resolved(card, runtime)
        self.device = self.runtime.device
        self._device = torch.device(self.device)
        torch.set_num_threads(runtime.threads)
        self._options = cast("Generation", card.postprocess.options)
        self._tokenizer, self._network = _loaded(folder, _DTYPES[runtime.precision])
        self._network.eval().to(self._device)
        self._ends = end_tokens(self._network.generation_config, folder)
        config = self._network.config.get_text_config()
        per_token = bytes_per_token(config, _DTYPES[runtime.precision])
        self._budget_tokens = (self._options.cache_mib << 20) // per_token
        room = self._budget_tokens - SPARE_COLUMNS
        self._decode = PromptDecoder(
            self._tokenizer, card, *longest_prompt(config, card, self._options, room)
        )

    def decode(self, batch: pa.RecordBatch) -> Examples:
        """Return the token ids of each row's prompt."""
        return self._decode(batch)

    @torch.inference_mode()
    def predict(self, values: Values) -> Mapping[str, NDArray[Any]]:
        """Return ``text``, ``tokens_in``, ``tokens_out`` (with the end token) and ``finish`` of each prompt.

        A row whose logits are not finite has NaN as its ``soundness``, which makes it an error.
        """
        options = self._options
        prompts = [np.asarray(ids).tolist() for ids in values]
        rows = [Row(ids, draw_of(options, ids, self._device)) for ids in prompts]
        slots = self._slots(max(len(row.prompt) for row in rows), len(rows))
        stops = stop_check(self._tokenizer, options.stop)
        rules = Rules(chooser(options), self._ends, options.max_new_tokens, stops)
        Writer(self._network, rules, slots, self._device).write(rows)
        texts = self._tokenizer.batch_decode(
            [row.written for row in rows], skip_special_tokens=True
        )
        return outputs_of(
            [until_stop(text, options.stop) for text in texts],
            [len(row.prompt) for row in rows],
            [len(row.written) for row in rows],
            [row.finish for row in rows],
        )

    def _slots(self, longest: int, rows: int) -> Slots:
        """As many slots for the longest prompt and its text as the budget holds."""
        width = longest + self._options.max_new_tokens + SPARE_COLUMNS
        count = min(rows, self._options.max_rows, self._budget_tokens // width)
        return Slots(count, width, self._device)


def outputs_of(
    texts: Sequence[str], tokens_in: Sequence[int], tokens_out: Sequence[int], finish: Sequence[str]
) -> dict[str, NDArray[Any]]:
    """Return the outputs of ``generate``, and ``soundness``: NaN for a row whose ``finish`` is ``broken``."""
    return {
        "text": np.array(texts, object),
        "tokens_in": np.array(tokens_in, np.int64),
        "tokens_out": np.array(tokens_out, np.int64),
        "finish": np.array(finish, object),
        "soundness": np.where(np.array(finish, object) == "broken", np.nan, 1.0),
    }


def longest_prompt(config: Any, card: ModelCard, options: Generation, room: int) -> tuple[int, str]:
    """Return the most tokens of a prompt, and the setting that limits it. Raises ModelError for none."""
    written = options.max_new_tokens
    limits = {room - written: f"cache_mib is {options.cache_mib}, max_new_tokens {written}"}
    if context := getattr(config, "max_position_embeddings", None):
        limits[context - written] = f"context {context}, max_new_tokens {written}"
    if most := cast("TokensOptions", card.preprocess.options).max_tokens:
        limits[most] = f"max_tokens is {most}"
    longest = min(limits)
    if longest < 1:
        raise ModelError(
            f"{card.title} has no room for a prompt",
            got=limits[longest],
            next="lower max_new_tokens, or raise cache_mib, in model.yaml",
        )
    return longest, limits[longest]


def end_tokens(config: Any, folder: Path) -> frozenset[int]:
    """Return the end tokens. Raises ModelError for other settings that Millrace does not implement."""
    settings = {name: getattr(config, name, None) for name in _NOT_DONE}
    unmet = {n: v for n, v in settings.items() if v is not None and v not in _NOT_DONE[n]}
    if unmet:
        raise ModelError(
            f"{folder}/generation_config.json asks for what Millrace does not do",
            got=", ".join(f"{name}: {value}" for name, value in unmet.items()),
            next="take it out, if the texts may be without it",
        )
    found = config.eos_token_id
    return frozenset([found] if isinstance(found, int) else found or [])


def stop_check(tokenizer: Any, stops: Sequence[str]) -> Callable[[Sequence[int]], bool]:
    """Return a function: whether a stop text ends in the newest token.

    A token has at least one byte, so the function decodes few tokens.
    """
    reach = max((len(stop.encode()) for stop in stops), default=0)

    def has_stop(written: Sequence[int]) -> bool:
        if not stops:
            return False
        tail = tokenizer.decode(written[-reach:], skip_special_tokens=True)
        return any(stop in tail for stop in stops)

    return has_stop


def until_stop(text: str, stops: Sequence[str]) -> str:
    """Return the text before the first stop text in it."""
    found = [at for stop in stops if (at := text.find(stop)) >= 0]
    return text[: min(found)] if found else text


def _loaded(folder: Path, dtype: torch.dtype) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    place: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), **place)
        network, loading = AutoModelForCausalLM.from_pretrained(
            str(folder), **place, use_safetensors=True, dtype=dtype, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"{folder} cannot be loaded", got=str(error)[:500]) from None
    if lost := sorted(loading["missing_keys"]):  # Transformers would make them up at random
        raise ModelError(
            f"the weights in {folder} do not fit generate",
            got=f"missing: {', '.join(lost)}"[:500],
            next="export the whole model, its head included",
        )
    _check_kind(network, folder)
    return tokenizer, network


def _check_kind(network: Any, folder: Path) -> None:
    """Raise ModelError for a network whose rows could not stand in one batch at positions of their own."""
    takes = inspect.signature(network.forward).parameters
    kinds = set(getattr(network.config.get_text_config(), "layer_types", None) or _ATTENTION)
    if "position_ids" not in takes or "logits_to_keep" not in takes or not kinds <= _ATTENTION:
        raise ModelError(
            f"{folder} holds a {type(network).__name__}, which cannot write many rows at a time",
            got=f"layers: {', '.join(sorted(kinds))}; forward takes {', '.join(takes)}"[:500],
            allowed=f"layers: {', '.join(sorted(_ATTENTION))}; position_ids and logits_to_keep",
            next="use another model, or backend vllm",
        )
