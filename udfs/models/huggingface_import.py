"""Imports a folder of the Hugging Face Hub: its data alone, with a card from its own files."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from millrace.schemas.errors import ModelError
from millrace.schemas.model import ModelCard
from millrace.udfs.models.import_check import checked
from millrace.udfs.models.model_folder import whole_folder, write_card
from millrace.udfs.models.sentence_files import SentenceFiles, sentence_files
from millrace.udfs.models.text_task import ImportOptions, steps
from millrace.udfs.tokenization.json_file import json_object
from millrace.udfs.tokenization.library_tokenizer import library_tokenizer, lowered, write_resolved

# What a Transformers network is read from: no pickles, no code.
_NETWORK = (
    "*.safetensors",
    "config.json",
    "generation_config.json",
    "model.safetensors.index.json",
)
_TOKENIZER = (
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


def adopt(
    source: Path,
    out: Path,
    column: str,
    options: ImportOptions = ImportOptions(),  # noqa: B008 - frozen
    *,
    name: str | None = None,
    version: str = "1",
    licence: str | None = None,
) -> ModelCard:
    """Make the model folder ``out`` of ``source``, reading texts from ``column``, and return its card.

    ``config.json`` decides whether it classifies, embeds or generates; the files of sentence-transformers
    decide how it pools. The new folder is created only if it gives the outputs of its own library. Raises
    ModelError.
    """
    _check_data(source)
    config, sentence = _config(source), sentence_files(source)
    called = re.sub(r"[^A-Za-z0-9_.-]+", "-", source.absolute().name).strip("-.")
    about = {
        "name": name or called or "model",
        "version": version,
        "format": "huggingface",
        "licence": licence or _licence(source),
        **steps(source, config, sentence, column, options),
    }
    with whole_folder(out, source) as made:
        for path in _files(source, _NETWORK):
            shutil.copyfile(path, made / path.name)
        if about["postprocess"]["name"] == "generate":  # loads where it runs: on a GPU, as a rule
            _copy_tokenizer(source, made)
            return write_card(made, **about)
        tokenizer = _tokenizer(source, made, sentence)
        checks = checked(source, made, write_card(made, **about), tokenizer)
        return write_card(made, **about, checks=[one.model_dump() for one in checks])


def _tokenizer(source: Path, made: Path, sentence: SentenceFiles | None) -> Any:
    """Transformers' tokenizer of ``source``; ``made`` gets the one file that says the same, if it can."""
    tokenizer = library_tokenizer(source)
    written = lowered(tokenizer) if sentence and sentence.lower_case else tokenizer
    if not write_resolved(written, made):
        _copy_tokenizer(source, made)
    return tokenizer


def _copy_tokenizer(source: Path, made: Path) -> None:
    for path in _files(source, _TOKENIZER):
        shutil.copyfile(path, made / path.name)


def _check_data(source: Path) -> None:
    """Raise ModelError for a folder that is no model's, brings code, or has no weights as data."""
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


def _config(source: Path) -> Any:
    """Transformers' own reading of ``config.json``, with what the library adds to it."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(
            str(source), local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # noqa: BLE001 - a file that is not what the library expects raises anything
        raise ModelError(
            f"{source}/config.json is not one that Transformers reads",
            got=f"{type(error).__name__}: {error}"[:500],
            next="check the file; a newer architecture may need a newer Transformers",
        ) from None


def _licence(source: Path) -> str:
    """What the model's own page says (the `license` that begins a README.md of the Hub)."""
    readme = source / "README.md"
    text = readme.read_text("utf-8", "replace") if readme.is_file() else ""
    front = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
    found = re.search(r"^license:\s*(\S+)\s*$", front.group(1) if front else "", re.MULTILINE)
    if found is None:
        raise ModelError(
            f"{source} does not say under which licence it is",
            got="no README.md that begins with one",
            next="look at its page, and say it: --licence apache-2.0",
        )
    return found.group(1).strip("\"'")


def _files(source: Path, patterns: tuple[str, ...]) -> list[Path]:
    return sorted({path for pattern in patterns for path in source.glob(pattern) if path.is_file()})
