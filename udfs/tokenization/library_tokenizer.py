"""The tokenizer that Transformers makes of a folder's files, and an equal one in a single file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from millrace.schemas.errors import ModelError
from millrace.udfs.tokenization.json_file import json_object

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a model is what its folder holds, and nothing else

TOKENIZER = "tokenizer.json"
_SETTINGS = "tokenizer_config.json"


def is_resolved(folder: Path) -> bool:
    """Whether ``tokenizer.json`` alone defines the tokenizer, as `write_resolved` writes it."""
    return (folder / TOKENIZER).is_file() and not (folder / _SETTINGS).is_file()


def library_tokenizer(folder: Path, **options: Any) -> Any:
    """Return Transformers' tokenizer. Raises ModelError if the folder has none that loads as data."""
    from transformers import AutoTokenizer

    for name in (TOKENIZER, _SETTINGS):
        json_object(folder / name)
    try:
        return AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False, **options
        )
    except Exception as error:  # noqa: BLE001 - a file that is not what the library expects raises anything
        kind = type(error).__name__
        raise ModelError(
            f"{folder}: no tokenizer can be made of its files",
            got=f"{kind}: {error}"[:500],
            allowed=f"{TOKENIZER}, or the vocabulary files that Transformers reads",
        ) from None


def write_resolved(tokenizer: Any, folder: Path) -> bool:
    """Write ``tokenizer.json``, which needs no other file; False for a tokenizer that has no such form.

    What Transformers takes from other files is in it: normalization, the side at which long texts are
    cut, and the pad token.
    """
    if not tokenizer.is_fast:
        return False
    from tokenizers import Tokenizer

    made = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    made.enable_truncation(1 << 20, direction=tokenizer.truncation_side)
    made.no_padding()
    if tokenizer.pad_token_id is not None:
        made.enable_padding(pad_id=tokenizer.pad_token_id, pad_token=tokenizer.pad_token)
    made.save(str(folder / TOKENIZER))
    return True


def lowered(tokenizer: Any) -> Any:
    """Return the tokenizer with lower case first, as sentence-transformers' do_lower_case does.

    A tokenizer that lowers case already is unchanged. Raises ModelError for one that cannot.
    """
    from copy import deepcopy

    from tokenizers import normalizers

    if not tokenizer.is_fast:
        raise ModelError(
            "its files require lower case, and its tokenizer has no such setting",
            got=f"{type(tokenizer).__name__}, do_lower_case: true",
            next="save its tokenizer as tokenizer.json",
        )
    normalizer = tokenizer.backend_tokenizer.normalizer
    is_sequence = isinstance(normalizer, normalizers.Sequence)
    before = list(normalizer) if is_sequence else [] if normalizer is None else [normalizer]
    if any(isinstance(one, normalizers.Lowercase) for one in before):
        return tokenizer
    made = deepcopy(tokenizer)
    made.backend_tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *before])
    return made
