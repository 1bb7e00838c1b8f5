"""Settings in the files of sentence-transformers: length, case, prompt, pooling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from millrace.schemas.errors import ModelError
from millrace.udfs.tokenization.json_file import json_object, json_value

# Earlier versions name the file for the network's kind; the first that is there counts.
_TRANSFORMER = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
_POOLINGS = {"mean": "mean", "cls": "first", "mean_tokens": "mean", "cls_token": "first"}
_OLD_MODE = "pooling_mode_"
# Keys of these files that leave what a text gives as it is, each with the values for which that is true.
_PLAIN: dict[str, tuple[Any, ...]] = {
    "max_seq_length": (), "do_lower_case": (), "module_output_name": ("token_embeddings",),
    "transformer_task": ("feature-extraction",), "unpad_inputs": (None, False),
    "model_args": ({}, None), "tokenizer_args": ({}, None), "config_args": ({}, None),
    "model_kwargs": ({}, None), "processor_kwargs": ({}, None), "config_kwargs": ({}, None),
    "processing_kwargs": ({}, None),
    "modality_config": ({"text": {"method": "forward", "method_output_name": "last_hidden_state"}},),
}  # fmt: skip


@dataclass(frozen=True)
class SentenceFiles:
    """How a folder of sentence-transformers reads texts and pools token vectors."""

    max_tokens: int | None
    lower_case: bool
    prompts: Mapping[str, str]
    default_prompt: str | None  # its name
    pooling: str  # mean or first
    normalize: bool

    def prompt(self, name: str | None) -> str:
        """Return the text before each row's text; of the default prompt if ``name`` is None."""
        name = name or self.default_prompt
        if name is None:
            return ""
        if name not in self.prompts:
            raise ModelError(
                f"the model has no prompt named {name!r}",
                allowed=", ".join(self.prompts) or "none: it has no prompts",
                next="--prompt-name takes one of these",
            )
        return self.prompts[name]


def sentence_files(source: Path) -> SentenceFiles | None:
    """Return the settings in the files; None for a folder without ``modules.json``.

    Raises ModelError for a setting that Millrace does not implement: none is ignored.
    """
    if not (source / "modules.json").is_file():
        return None
    modules = _modules(source)
    about = next((json_object(source / n) for n in _TRANSFORMER if (source / n).is_file()), {})
    _check_plain(source, about)
    general = json_object(source / "config_sentence_transformers.json")
    prompts = {str(n): str(text or "") for n, text in (general.get("prompts") or {}).items()}
    pooling = json_object(source / str(modules["Pooling"]) / "config.json")
    found = SentenceFiles(
        max_tokens=about.get("max_seq_length"),
        lower_case=bool(about.get("do_lower_case")),
        prompts=prompts,
        default_prompt=general.get("default_prompt_name"),
        pooling=_pooling(source, pooling),
        normalize="Normalize" in modules,
    )
    if pooling.get("include_prompt") is False and any(prompts.values()):
        raise ModelError(
            f"{source} leaves its prompt's tokens out of the vector",
            got="include_prompt: false in its pooling",
            allowed="include_prompt: true",
            next="Millrace pools all tokens of a text: use another model",
        )
    return found


def _modules(source: Path) -> dict[str, str]:
    """The folder of each module, by its kind. Raises ModelError for kinds that are not known."""
    content = json_value(source / "modules.json")
    try:
        types = {str(one["type"]): str(one["path"]) for one in content}
    except (TypeError, KeyError):
        raise ModelError(f"{source}/modules.json is no list of modules") from None
    kinds = {name.rpartition(".")[2]: path for name, path in types.items()}
    are_own = all(name.startswith("sentence_transformers.") for name in types)
    order = [kind for kind in ("Transformer", "Pooling", "Normalize") if kind in kinds]
    is_known = list(kinds) == order and order[:2] == ["Transformer", "Pooling"]
    if not are_own or not is_known or kinds["Transformer"]:
        raise ModelError(
            f"{source} makes its vectors in a way that is not known here",
            got=", ".join(f"{kind} ({path or '.'})" for kind, path in kinds.items()),
            allowed="Transformer (.), Pooling, and Normalize or not",
            next="choose a model of these modules, or export it to onnx",
        )
    return kinds


def _check_plain(source: Path, about: Mapping[str, Any]) -> None:
    unknown = {
        name: value
        for name, value in about.items()
        if name not in _PLAIN or (_PLAIN[name] and value not in _PLAIN[name])
    }
    if unknown:
        raise ModelError(
            f"{source} asks of its Transformer module what is not done here",
            got=", ".join(f"{name}: {value}" for name, value in unknown.items())[:500],
            allowed=", ".join(_PLAIN),
            next="take the keys out of the sentence_..._config.json if vectors may be without them",
        )


def _pooling(source: Path, config: Mapping[str, Any]) -> str:
    """``mean`` or ``first``. Raises ModelError for other ways, and for several that are put end to end."""
    mode = config.get("pooling_mode")
    modes = [mode] if isinstance(mode, str) else list(mode or ())
    if mode is None:
        modes = [
            key.removeprefix(_OLD_MODE)
            for key, is_on in config.items()
            if key.startswith(_OLD_MODE) and is_on is True
        ]
    if len(modes) != 1 or modes[0] not in _POOLINGS:
        names = ", ".join(f"{_OLD_MODE}{name}" if mode is None else name for name in modes)
        raise ModelError(
            f"{source} makes its vectors in a way that is not known here",
            got=f"pooling by {names or 'nothing'}",
            allowed="one of pooling_mode mean and cls (pooling_mode_mean_tokens, pooling_mode_cls_token)",
        )
    return _POOLINGS[modes[0]]
