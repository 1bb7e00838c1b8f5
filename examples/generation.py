"""A small causal model that writes paragraphs like those of Python's documentation, made on the spot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from examples.paragraphs import different, from_topics
from udfs.models.folder import write_card

END = "<end>"
CONTEXT = 512  # tokens
_SEED = 7
_LONGEST_TOKENS = 160  # of a paragraph that is learned from
_LONG_WORDS = 40
_ROWS = 8  # learned from at once


def prompts(count: int) -> list[str]:
    """Beginnings of paragraphs, of 2 to 120 words, lengths mixed; the same for the same Python."""
    texts = [text.split() for _, text in different(from_topics())]
    long = [words for words in texts if len(words) >= _LONG_WORDS]
    lengths = torch.randint(2, 121, (count,), generator=torch.Generator().manual_seed(_SEED))
    return [
        " ".join(long[at % len(long)][: int(length)]) for at, length in enumerate(lengths.tolist())
    ]


def causal_folder(
    folder: Path,
    options: dict[str, Any],
    *,
    layers: int = 2,
    hidden: int = 64,
    vocabulary: int = 600,
    steps: int = 150,
) -> Path:
    """A model folder with a Llama of that size, trained for so many steps, and its own tokenizer.

    ``options`` are those of the ``generate`` step; the context is 512 tokens.
    """
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    folder.mkdir(parents=True, exist_ok=True)
    texts = [text for _, text in different(from_topics())]
    tokenizer = _tokenizer(texts, vocabulary)
    tokenizer.save_pretrained(folder)
    network = _network(layers, hidden, len(tokenizer), tokenizer.eos_token_id)
    _train(network, tokenizer(texts, verbose=False)["input_ids"], steps)
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


def _network(layers: int, hidden: int, vocabulary: int, end: int) -> Any:
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
            eos_token_id=end,
            bos_token_id=None,
            pad_token_id=end,
        )
    )


def _train(network: Any, ids: list[list[int]], steps: int) -> None:
    end = network.config.eos_token_id
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    network.train()
    for batch in _batches(ids, steps):
        width = max(len(one) for one in batch) + 1
        tokens = torch.full((len(batch), width), end)
        labels = torch.full((len(batch), width), -100)  # what the loss leaves out
        for row, one in enumerate(batch):
            tokens[row, : len(one)] = torch.as_tensor(one)
            labels[row, : len(one) + 1] = tokens[row, : len(one) + 1]
        optimizer.zero_grad()
        network(input_ids=tokens, labels=labels).loss.backward()
        optimizer.step()
    network.eval()


def _batches(ids: list[list[int]], steps: int) -> Iterator[list[list[int]]]:
    draw = torch.Generator().manual_seed(_SEED)
    for _ in range(steps):
        picked = torch.randint(0, len(ids), (_ROWS,), generator=draw).tolist()
        yield [ids[at][:_LONGEST_TOKENS] for at in picked]
