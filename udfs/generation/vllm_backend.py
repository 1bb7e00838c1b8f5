"""Text generation by vLLM on a CUDA device, with the step and columns of `CausalModel`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from millrace.schemas.errors import ModelError
from millrace.schemas.generation import Generation
from millrace.schemas.model import ModelCard
from millrace.udfs.backends.runtimes import resolved
from millrace.udfs.generation.causal_model import end_tokens, longest_prompt, outputs_of
from millrace.udfs.generation.prompts import PromptDecoder
from millrace.udfs.generation.sampling import seed_of
from millrace.udfs.runtime.examples import Examples, Values
from millrace.udfs.runtime.plan import Runtime

_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


class VllmModel:
    """A causal model that vLLM loads and schedules; it needs the device for itself.

    Greedy texts may differ from those of `CausalModel` where two tokens are equally likely within
    rounding. Sampled texts are other draws, repeatable as far as vLLM's seeds are.
    """

    takes_windows = True

    def __init__(self, folder: Path, card: ModelCard, runtime: Runtime) -> None:
        library = _vllm(card)
        from transformers import AutoConfig, GenerationConfig

        self.card, self.runtime = card, resolved(card, runtime)
        self.device = self.runtime.device
        self._library = library
        self._options = cast("Generation", card.postprocess.options)
        self._ends = end_tokens(GenerationConfig.from_pretrained(str(folder)), folder)
        config = AutoConfig.from_pretrained(str(folder), local_files_only=True).get_text_config()
        self._engine = library.LLM(
            model=str(folder),
            dtype=_DTYPES[self.runtime.precision],
            load_format="safetensors",
            trust_remote_code=False,
            generation_config="vllm",  # the card says how to sample, not the folder
            max_num_seqs=self._options.max_rows,
            kv_cache_memory_bytes=self._options.cache_mib << 20,
        )
        context = int(config.max_position_embeddings)
        self._decode = PromptDecoder(
            self._engine.get_tokenizer(),
            card,
            *longest_prompt(config, card, self._options, context),
        )

    def decode(self, batch: pa.RecordBatch) -> Examples:
        """Return the token ids of each row's prompt."""
        return self._decode(batch)

    def predict(self, values: Values) -> Mapping[str, NDArray[Any]]:
        """Return ``text``, ``tokens_in``, ``tokens_out`` (with end token) and ``finish`` of each prompt."""
        prompts = [np.asarray(ids).tolist() for ids in values]
        requests = self._engine.generate(
            [{"prompt_token_ids": ids} for ids in prompts],
            [self._parameters(ids) for ids in prompts],
            use_tqdm=False,
        )
        made = [request.outputs[0] for request in requests]
        return outputs_of(
            [one.text for one in made],
            [len(ids) for ids in prompts],
            [len(one.token_ids) for one in made],
            [self._finish(one) for one in made],
        )

    def _parameters(self, prompt: list[int]) -> Any:
        options = self._options
        return self._library.SamplingParams(
            max_tokens=options.max_new_tokens,
            temperature=options.temperature if options.do_sample else 0.0,
            top_k=options.top_k,
            top_p=options.top_p,
            seed=seed_of(options.seed, prompt) if options.do_sample else None,
            stop=list(options.stop),
            stop_token_ids=sorted(self._ends),
        )

    def _finish(self, made: Any) -> str:
        if made.finish_reason == "stop":
            return "stop" if isinstance(made.stop_reason, str) else "eos"
        return "length" if made.finish_reason == "length" else "broken"


def _vllm(card: ModelCard) -> Any:
    """The library, imported now. Raises ModelError where it is not installed."""
    try:
        import vllm
    except ImportError as error:
        raise ModelError(
            f"{card.title} is to be run by vLLM, which cannot be imported here",
            got=str(error),
            allowed="backend torch, or a worker with vLLM and a CUDA device",
            next="install millrace[vllm] on the workers, or set engine.backend: torch",
        ) from None
    return vllm
