"""Tiny Hugging Face folders with random weights, as their own libraries save them: no downloads, no model.yaml."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

CORPUS = (
    "The mill stands by the river and the wheel turns all day.",
    "THE MILL BY THE RIVER IS OLD; École, naïve, Ångström, façade, Straße.",
    "A query: which passage is about wheels? 12,50 € for each of them!",
    "day night good bad badly words of a text that nobody reads, again and again",
)
DIMENSIONS = 16
# Weights of random networks are small: larger ones make what a network gives depend on what it reads.
LARGE = {"initializer_range": 0.6}


def wordpiece(folder: Path, *, lowercase: bool = False, **about: Any) -> int:
    """Save a BERT-like tokenizer trained on `CORPUS`; the size of its vocabulary."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=special, show_progress=False)
    made.train_from_iterator([*CORPUS, *map(str.lower, CORPUS)], trainer)
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = ("pad", "unk", "cls", "sep", "mask")
    tokens = {f"{name}_token": one for name, one in zip(names, special, strict=True)}
    PreTrainedTokenizerFast(tokenizer_object=made, **tokens, **about).save_pretrained(folder)
    return int(made.get_vocab_size())


def byte_bpe(folder: Path, *, roberta: bool = False, **about: Any) -> int:
    """Save a byte-level tokenizer, without a pad token, or as RoBERTa has it; its vocabulary's size."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<s>", "<pad>", "</s>", "<unk>"] if roberta else ["<|endoftext|>"]
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(CORPUS, trainer)
    told = {"eos_token": special[0]}
    if roberta:
        made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
        told = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=made, **told, **about).save_pretrained(folder)
    return int(made.get_vocab_size())


def bert(folder: Path, task: str = "SequenceClassification", **config: Any) -> Path:
    """A BERT of 16 dimensions for a task, or without a head where that is empty."""
    import transformers

    tokenizer = config.pop("tokenizer", {})
    told = transformers.BertConfig(
        vocab_size=wordpiece(folder, **tokenizer),
        hidden_size=DIMENSIONS,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        **{"max_position_embeddings": 64, **LARGE, **config},
    )
    kind = getattr(transformers, f"BertFor{task}" if task else "BertModel")
    return _saved(kind(_seeded(told)), folder)


def roberta(folder: Path, **config: Any) -> Path:
    """A RoBERTa that classifies: its positions begin behind the pad token's."""
    from transformers import RobertaConfig, RobertaForSequenceClassification

    told = RobertaConfig(
        vocab_size=byte_bpe(folder, roberta=True),
        hidden_size=DIMENSIONS,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
        **{"max_position_embeddings": 66, "num_labels": 3, **LARGE, **config},
    )
    return _saved(RobertaForSequenceClassification(_seeded(told)), folder)


def distilbert(folder: Path, **config: Any) -> Path:
    """A DistilBERT that classifies."""
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    told = DistilBertConfig(
        vocab_size=wordpiece(folder, lowercase=True),
        dim=DIMENSIONS,
        n_layers=2,
        n_heads=2,
        hidden_dim=32,
        **{"max_position_embeddings": 64, "num_labels": 4, **LARGE, **config},
    )
    return _saved(DistilBertForSequenceClassification(_seeded(told)), folder)


def gpt2(folder: Path, **config: Any) -> Path:
    """A GPT-2 that classifies by its last token; its tokenizer has no pad token."""
    from transformers import GPT2Config, GPT2ForSequenceClassification

    told = GPT2Config(
        vocab_size=byte_bpe(folder),
        n_embd=DIMENSIONS,
        n_layer=2,
        n_head=2,
        n_positions=64,
        bos_token_id=0,
        eos_token_id=0,
        **{"pad_token_id": 0, "num_labels": 3, **LARGE, **config},
    )
    return _saved(GPT2ForSequenceClassification(_seeded(told)), folder)


def xlnet(folder: Path) -> Path:
    """An XLNet that classifies by the last position, which in a batch may be padding."""
    from transformers import XLNetConfig, XLNetForSequenceClassification

    told = XLNetConfig(
        vocab_size=byte_bpe(folder, roberta=True, model_max_length=32),
        d_model=DIMENSIONS,
        n_layer=1,
        n_head=2,
        d_inner=32,
        pad_token_id=1,
        num_labels=3,
        **LARGE,
    )
    return _saved(XLNetForSequenceClassification(_seeded(told)), folder)


def t5(folder: Path, kind: str) -> Path:
    """A T5 of a kind of Transformers."""
    import transformers

    told = transformers.T5Config(
        vocab_size=byte_bpe(folder, roberta=True),
        d_model=16,
        d_kv=8,
        d_ff=16,
        num_layers=1,
        num_heads=2,
    )
    return _saved(getattr(transformers, kind)(_seeded(told)), folder)


def vit(folder: Path) -> Path:
    """A ViT that classifies pictures."""
    from transformers import ViTConfig, ViTForImageClassification

    told = ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        image_size=8, patch_size=4,
    )  # fmt: skip
    return _saved(ViTForImageClassification(_seeded(told)), folder)


def sentences(folder: Path, *kinds: str, **says: Any) -> Path:
    """A BERT as sentence-transformers keeps it; ``says`` are bert, pooling, prompts and the files' keys."""
    bert(folder, "", **says.pop("bert", {}))
    pooling, prompts = says.pop("pooling", "mean"), says.pop("prompts", {})
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), *((f"2_{k}", k) for k in kinds)]
    say(
        folder / "modules.json",
        [
            {
                "idx": number,
                "name": str(number),
                "path": path,
                "type": f"sentence_transformers.models.{kind}",
            }
            for number, (path, kind) in enumerate(modules)
        ],
    )
    (folder / "1_Pooling").mkdir()
    modes = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens")
    chosen = {f"pooling_mode_{mode}": mode.startswith(pooling) for mode in modes}
    if pooling == "mean":
        chosen["pooling_mode_mean_sqrt_len_tokens"] = False
    say(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": DIMENSIONS, **chosen})
    say(
        folder / "sentence_bert_config.json", {"max_seq_length": 64, "do_lower_case": False, **says}
    )
    say(folder / "config_sentence_transformers.json", {"__version__": {}, **prompts})
    return folder


def say(path: Path, value: Any) -> None:
    """Write a JSON file."""
    path.write_text(json.dumps(value), "utf-8")


def change(path: Path, **values: Any) -> None:
    """Set keys of a JSON file; None takes a key out."""
    told = {**json.loads(path.read_text("utf-8")), **values}
    say(path, {key: value for key, value in told.items() if value is not None})


def _seeded(config: Any) -> Any:
    torch.manual_seed(7)
    return config


def _saved(network: Any, folder: Path) -> Path:
    network.eval().save_pretrained(folder)
    return folder
