"""A folder of the Hugging Face Hub made a model folder: its data alone, and a card from its own config."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from schemas.errors import ModelError
from schemas.model import ModelCard
from udfs.models.folder import whole_folder, write_card
from udfs.models.json_file import json_object, json_value
from udfs.models.loaded import LoadedModel
from udfs.models.samples import sample
from udfs.plan import Runtime

LONGEST = 512  # tokens, where the folder does not say what it was trained on
# What a Transformers encoder, its tokenizer or its texts are read from: no pickles, no code.
_FILES = (
    "*.safetensors",
    "config.json",
    "generation_config.json",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)
_POOLINGS = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "first"}
_OFFSET = ("roberta", "xlm-roberta", "camembert", "mpnet", "longformer", "xlm-roberta-xl")


def adopt(
    source: Path,
    out: Path,
    column: str,
    *,
    name: str | None = None,
    version: str = "1",
    licence: str | None = None,
    max_new_tokens: int | None = None,
) -> ModelCard:
    """The card of ``out``, a new model folder with the data of ``source``, reading texts from ``column``.

    ``config.json`` says whether it classifies, embeds or writes; sentence-transformers' files how it
    pools. The new folder has read a few texts before it appears. Raises ModelError.
    """
    config = _config(source)
    called = re.sub(r"[^A-Za-z0-9_.-]+", "-", source.absolute().name).strip("-.")
    about = {
        "name": name or called or "model",
        "version": version,
        "format": "huggingface",
        "licence": licence or _licence(source),
        **_task(source, config, column, max_new_tokens),
    }
    with whole_folder(out) as made:
        for path in _files(source):
            shutil.copyfile(path, made / path.name)
        try:
            card = write_card(made, **about)
        except ValidationError as error:
            told = "; ".join(str(one["msg"]) for one in error.errors())
            raise ModelError(f"no model.yaml can be written for {source}", got=told) from None
        if card.postprocess.name != "generate":  # which loads where it runs: on a GPU, as a rule
            model = LoadedModel(made, card, Runtime("cpu"))
            model.runner.run(model.arrays(sample(model)))
    return card


def _config(source: Path) -> dict[str, Any]:
    config = json_object(source / "config.json")
    if not config.get("architectures"):
        raise ModelError(
            f"{source} is no folder of a Transformers model",
            got="no config.json that names its architecture",
            allowed="what save_pretrained writes, or a snapshot of the Hub",
        )
    if "auto_map" in config:
        raise ModelError(
            f"{source} brings code of its own, which is not run",
            got=f"auto_map: {', '.join(map(str, config['auto_map']))}",
            next="choose a model whose architecture Transformers has, or export it to onnx",
        )
    if not list(source.glob("*.safetensors")):
        raise ModelError(
            f"{source} has no weights as data",
            got=", ".join(sorted(p.name for p in source.iterdir() if p.is_file()))[:300],
            allowed="*.safetensors",
            next="load it once where you trust it, and save_pretrained(...) writes safetensors",
        )
    return config


def _task(
    source: Path, config: Mapping[str, Any], column: str, max_new_tokens: int | None
) -> dict[str, Any]:
    """Signature, and the steps before and after: what the architecture's name says that it does."""
    architecture = str(config["architectures"][0])
    tokens: dict[str, Any] = {"max_tokens": _longest(source, config)}
    if architecture.endswith("ForCausalLM"):
        if max_new_tokens is None:
            raise ModelError(
                f"{architecture} writes texts, and how long they may be must be said",
                next="--max-new-tokens N: it bounds what a row can cost",
            )
        kinds = {"text": "string", "tokens_in": "int", "tokens_out": "int", "finish": "string"}
        outputs: dict[str, dict[str, Any]] = {name: {"type": one} for name, one in kinds.items()}
        tokens, after = {}, {"name": "generate", "options": {"max_new_tokens": max_new_tokens}}
    elif architecture.endswith("ForSequenceClassification"):
        outputs = {"label": {"type": "string"}, "score": {"type": "float"}}
        after = {"name": "classify", "options": {"labels": _labels(config)}}
    elif re.search(r"For[A-Z]", architecture) and not (source / "modules.json").is_file():
        raise ModelError(
            f"{source}: what {architecture} gives is not known",
            allowed="...ForSequenceClassification, ...ForCausalLM, an encoder without a head",
            next="write its model.yaml by hand if one of Millrace's steps fits",
        )
    else:
        options = _pooling(source)
        outputs = {"embedding": {"type": "array<float>", "shape": (_size(source, config),)}}
        after = {"name": "embed", "options": options}
    return {
        "signature": {"inputs": {column: {"type": "string"}}, "outputs": outputs},
        "preprocess": {"name": "tokens", "options": tokens},
        "postprocess": after,
    }


def _labels(config: Mapping[str, Any]) -> list[str]:
    kind = config.get("problem_type")
    told = {int(number): str(label) for number, label in (config.get("id2label") or {}).items()}
    if kind not in (None, "single_label_classification") or sorted(told) != list(range(len(told))):
        raise ModelError(
            "only one label of several can be given for a text",
            got=f"problem_type {kind}, {len(told)} labels",
            allowed="single_label_classification, with id2label in config.json",
        )
    if len(told) < 2:  # noqa: PLR2004 - one output is a regression
        raise ModelError("a model of one output has nothing to choose from", got=f"id2label {told}")
    return [told[number] for number in range(len(told))]


def _pooling(source: Path) -> dict[str, Any]:
    """How sentence-transformers' files say that token vectors become one; else the mean, of length one."""
    if not (source / "modules.json").is_file():
        return {"pooling": "mean", "normalize": True}
    modules = json_value(source / "modules.json")
    kinds = [str(one["type"]).rpartition(".")[2] for one in modules]
    (path,) = [one["path"] for one in modules if one["type"].endswith("Pooling")] or [""]
    modes = [key for key, on in json_object(source / path / "config.json").items() if on is True]
    wanted = [mode for mode in modes if mode.startswith("pooling_mode_")]
    is_known = len(wanted) == 1 and wanted[0] in _POOLINGS  # of several, vectors are put end to end
    if set(kinds) - {"Transformer", "Pooling", "Normalize"} or not is_known:
        raise ModelError(
            f"{source} makes its vectors in a way that is not known here",
            got=", ".join((*kinds, *wanted)),
            allowed=f"Transformer, Pooling ({' or '.join(_POOLINGS)}), Normalize",
        )
    return {"pooling": _POOLINGS[wanted[0]], "normalize": "Normalize" in kinds}


def _size(source: Path, config: Mapping[str, Any]) -> int:
    found = config.get("hidden_size") or config.get("dim")
    if found is None:
        raise ModelError(
            f"{source}: how long its vectors are is not known",
            got="no hidden_size and no dim in config.json",
            next="write its model.yaml by hand",
        )
    return int(found)


def _longest(source: Path, config: Mapping[str, Any]) -> int:
    """Tokens of the longest text: what it was trained on, no more than it has positions for."""
    positions = int(config.get("max_position_embeddings") or LONGEST)
    if config.get("model_type") in _OFFSET:  # their first positions are not for tokens
        positions -= int(config.get("pad_token_id") or 0) + 1
    said = json_object(source / "sentence_bert_config.json").get("max_seq_length")
    said = said or json_object(source / "tokenizer_config.json").get("model_max_length")
    return min(positions, int(said or LONGEST))


def _licence(source: Path) -> str:
    """What the model's own page says (the `license` that begins a README.md of the Hub)."""
    readme = source / "README.md"
    text = readme.read_text("utf-8", "replace") if readme.is_file() else ""
    front = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
    said = re.search(r"^license:\s*(\S+)\s*$", front.group(1) if front else "", re.MULTILINE)
    if said is None:
        raise ModelError(
            f"{source} does not say under which licence it is",
            got="no README.md that begins with one",
            next="look at its page, and say it: --licence apache-2.0",
        )
    return said.group(1).strip("\"'")


def _files(source: Path) -> list[Path]:
    return sorted({path for pattern in _FILES for path in source.glob(pattern) if path.is_file()})
