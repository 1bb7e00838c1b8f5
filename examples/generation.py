"""A small causal model, made on the spot, and beginnings of paragraphs for it to go on from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from millrace.examples.paragraphs import different, from_topics
from millrace.udfs.models.model_folder import write_card

END = "<end>"
CONTEXT = 512  # tokens
_SEED = 7
_SPREAD = 0.1  # of the weights: with less, a random network says the same word on and on


def prompts(count: int) -> list[str]:
    """Beginnings of paragraphs, of 2 to 120 words, lengths mixed; the same for the same Python."""
    texts = [text.split() for _, text in different(from_topics())]
    lengths = torch.randint(2, 121, (count,), generator=torch.Generator().manual_seed(_SEED))
    found = []
    for at, length in enumerate(lengths.tolist()):
        longer = [words for words in texts if len(words) > length]
        found.append(" ".join(longer[at % len(longer)][:length]))
    return found


def causal_folder(
    folder: Path,
    options: dict[str, Any],
    *,
    layers: int = 2,
    hidden: int = 64,
    vocabulary: int = 600,
    ends: int = 30,
) -> Path:
    """A model folder with a Llama of that size and a tokenizer made of Python's documentation.

    Its weights are random, so that it is there in a second; ``ends`` of its tokens end a text, so that
    texts end at all lengths, about one in every vocabulary / ends tokens. ``options`` are those of the
    ``generate`` step.
    """
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer([text for _, text in different(from_topics())], vocabulary)
    tokenizer.save_pretrained(folder)
    network = _network(layers, hidden, len(tokenizer), ends)
    network.save_pretrained(folder)
    return causal_card(folder, options)


def causal_card(
    folder: Path, options: dict[str, Any], preprocess: dict[str, Any] | None = None
) -> Path:
    """(Re)write the card of such a folder; ``preprocess`` are the options of ``tokens``."""
    write_card(
        folder,
        name="tiny-llama",
        version="1",
        format="huggingface",
        signature={
            "inputs": {"text": {"type": "string"}},
            "outputs": {
                "text": {"type": "string"},
                "tokens_in": {"type": "int"},
                "tokens_out": {"type": "int"},
                "finish": {"type": "string"},
            },
        },
        preprocess={"name": "tokens", "options": preprocess or {}},
        postprocess={"name": "generate", "options": options},
        licence="Apache-2.0",
    )
    return folder


def _tokenizer(texts: Sequence[str], vocabulary: int) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token=END, pad_token=END, model_max_length=CONTEXT
    )


def _network(layers: int, hidden: int, vocabulary: int, ends: int) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(_SEED)
    heads = max(2, hidden // 32)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=hidden,
            intermediate_size=hidden * 3,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=heads // 2,
            max_position_embeddings=CONTEXT,
            eos_token_id=[0, *range(vocabulary - ends + 1, vocabulary)],
            bos_token_id=None,
            pad_token_id=0,
            initializer_range=_SPREAD,
        )
    )
