"""The signature and steps of a Hugging Face folder's network."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from millrace.schemas.errors import ModelError
from millrace.udfs.models.sentence_files import SentenceFiles
from millrace.udfs.tokenization.json_file import json_object
from millrace.udfs.tokenization.position_limit import positions_of

# Heads that Millrace has no step for, by how the architecture's name ends, with what a step would need.
_NOT_DONE = {
    "ForTokenClassification": "a label for each token of a text; a row has one label here",
    "ForQuestionAnswering": "a span of a second text; a row has one text here",
    "ForMultipleChoice": "a choice of several texts; a row has one text here",
    "ForMaskedLM": "words for the masked places of a text",
    "ForPreTraining": "a network that is not trained for a task yet",
    "ForNextSentencePrediction": "whether one text follows another; a row has one text here",
    "ForConditionalGeneration": "texts of an encoder and a decoder; `generate` runs a decoder alone",
    "ForImageClassification": "a label for a picture; its network as an ONNX file can be imported",
    "ForAudioClassification": "a label for a sound",
    "ForCTC": "the text of a sound",
}


@dataclass(frozen=True)
class ImportOptions:
    """What a user says about a model, in addition to its files."""

    max_tokens: int | None = None
    max_new_tokens: int | None = None  # of a model that writes
    prompt_name: str | None = None  # of those in config_sentence_transformers.json


def steps(
    source: Path, config: Any, sentence: SentenceFiles | None, column: str, options: ImportOptions
) -> dict[str, Any]:
    """Return signature, preprocess and postprocess of a card, by the architecture in ``config``.

    ``config`` is that of Transformers. Raises ModelError for a network that no step fits.
    """
    architecture = str(config.architectures[0])
    _check_has_texts(source, config, architecture)
    if sentence is None and architecture.endswith("ForCausalLM"):
        return _writing(architecture, column, options)
    tokens: dict[str, Any] = {"max_tokens": longest(source, config, sentence, options.max_tokens)}
    if sentence is not None:
        if prompt := sentence.prompt(options.prompt_name):
            tokens["prompt"] = prompt
        outputs, after = _embedding(source, config, sentence)
    elif options.prompt_name:
        raise ModelError(f"{source} has no prompts", got=f"--prompt-name {options.prompt_name}")
    elif architecture.endswith("ForSequenceClassification"):
        outputs, after = _scores(source, config)
    else:
        outputs, after = _embedding(source, config, None)
    return _card_fields(column, outputs, tokens, after)


def longest(
    source: Path, config: Any, sentence: SentenceFiles | None, requested: int | None
) -> int:
    """Return the most tokens of a text: by the files, and at most the network's positions.

    Raises ModelError if nothing has a limit.
    """
    stated = sentence.max_tokens if sentence else None
    stated = stated or json_object(source / "tokenizer_config.json").get("model_max_length")
    limits = [one for one in (positions_of(config.to_dict()), stated and int(stated)) if one]
    if not limits or (found := min(limits)) > 1 << 24:  # how tokenizers say that they do not know
        if requested is not None:
            return requested
        raise ModelError(
            f"{source} does not say how long its texts may be",
            got="no max_position_embeddings, max_seq_length or model_max_length",
            next="--max-tokens N says it",
        )
    if requested is not None and requested > found:
        raise ModelError(
            f"{source} cannot read texts of {requested} tokens",
            got=f"--max-tokens {requested}",
            allowed=f"up to {found}",
        )
    return requested or found


def _check_has_texts(source: Path, config: Any, architecture: str) -> None:
    """Raise ModelError for a network whose output no step can give."""
    head = re.search(r"For[A-Z]\w*$", architecture)
    kind = head.group() if head else ""
    fits = kind in ("", "ForSequenceClassification", "ForCausalLM")
    if (source / "modules.json").is_file():
        fits = True  # a head that the folder has is not what its vectors are made of
    needed = _NOT_DONE.get(kind, "what no step of Millrace gives")
    if fits and not kind and getattr(config, "is_encoder_decoder", False):
        fits, needed = False, "token vectors of a decoder; an embedding needs an encoder alone"
    if not fits:
        raise ModelError(
            f"{source}: what {architecture} gives is not known",
            got=f"it gives {needed}",
            allowed="...ForSequenceClassification, ...ForCausalLM, an encoder without a head",
            next="choose such a model, or import its network from an ONNX file where a step fits",
        )


def _writing(architecture: str, column: str, options: ImportOptions) -> dict[str, Any]:
    if options.max_new_tokens is None:
        raise ModelError(
            f"{architecture} writes texts, and how long they may be must be said",
            next="--max-new-tokens N: it bounds what a row can cost",
        )
    kinds = {"text": "string", "tokens_in": "int", "tokens_out": "int", "finish": "string"}
    outputs = {name: {"type": one} for name, one in kinds.items()}
    tokens = {} if options.max_tokens is None else {"max_tokens": options.max_tokens}
    after = {"name": "generate", "options": {"max_new_tokens": options.max_new_tokens}}
    return _card_fields(column, outputs, tokens, after)


def _scores(source: Path, config: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Outputs and step of a classifier, as Transformers' pipeline reads ``problem_type``."""
    kind, labels = config.problem_type, _labels(source, config)
    outputs: dict[str, dict[str, Any]]
    if kind == "regression":
        outputs = {"value": {"type": "float"}}
        if len(labels) > 1:
            outputs = {"values": {"type": "array<float>", "shape": (len(labels),)}}
        return outputs, {"name": "values"}
    if len(labels) == 1:
        raise ModelError(
            f"{source}: what its one output means is not said",
            got=f"problem_type {kind} and one label",
            allowed="problem_type: regression, which gives the number as it is",
            next="set problem_type in its config.json",
        )
    options: dict[str, Any] = {"labels": labels}
    outputs = {"label": {"type": "string"}, "score": {"type": "float"}}
    if kind == "multi_label_classification":
        options["activation"] = "sigmoid"
        outputs["probabilities"] = {"type": "array<float>", "shape": (len(labels),)}
    return outputs, {"name": "classify", "options": options}


def _labels(source: Path, config: Any) -> list[str]:
    """The classes by number. Where the folder names none, Transformers makes LABEL_0, LABEL_1 ..."""
    labels = {int(number): str(label) for number, label in config.id2label.items()}
    if sorted(labels) != list(range(len(labels))) or len(set(labels.values())) != len(labels):
        raise ModelError(
            f"{source}: its labels are ambiguous",
            got=f"id2label {labels}"[:500],
            allowed="numbers from 0, each with a name of its own",
            next="correct id2label in its config.json",
        )
    return [labels[number] for number in range(len(labels))]


def _embedding(
    source: Path, config: Any, sentence: SentenceFiles | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Outputs and step of an encoder; without sentence-transformers' files the mean, of length one."""
    size = getattr(config, "hidden_size", None)
    if size is None:
        raise ModelError(
            f"{source}: how long its vectors are is not known",
            got="no hidden_size in config.json",
            next="write its model.yaml by hand",
        )
    pooling = sentence.pooling if sentence else "mean"
    options = {"pooling": pooling, "normalize": sentence.normalize if sentence else True}
    outputs = {"embedding": {"type": "array<float>", "shape": (int(size),)}}
    return outputs, {"name": "embed", "options": options}


def _card_fields(
    column: str, outputs: Mapping[str, Any], tokens: Mapping[str, Any], after: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "signature": {"inputs": {column: {"type": "string"}}, "outputs": outputs},
        "preprocess": {"name": "tokens", "options": tokens},
        "postprocess": after,
    }
