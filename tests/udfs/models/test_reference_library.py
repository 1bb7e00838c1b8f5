"""What an imported folder gives is what its own library gives, whatever the batch; or it is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from millrace.schemas.errors import ModelError
from millrace.schemas.tables import TRUNCATED
from millrace.udfs.models import import_check
from millrace.udfs.models.huggingface_import import adopt
from millrace.udfs.models.model_loading import read_card
from millrace.udfs.models.text_task import ImportOptions
from millrace.udfs.tokenization.library_tokenizer import library_tokenizer
from tests import hf_models
from tests.helpers import loaded

TEXTS = (
    "The mill by the river",
    "a",
    "THE WHEEL TURNS ALL DAY, École!",
    "naïve Ångström: 12,50 € for each, and again the words of a text that nobody reads",
    "good day",
    "again and again " * 60,
)


def given(folder: Path, out: Path) -> dict[str, NDArray[Any]]:
    """The outputs of an imported folder for `TEXTS`, all of them in one batch."""
    adopt(folder, out, "text", licence="mit")
    model = loaded(out)
    examples = model.decode(pa.record_batch({"text": list(TEXTS)}))
    assert not examples.errors
    return dict(model.predict(examples.values))


def by_pipeline(folder: Path, longest: int) -> tuple[NDArray[Any], list[str]]:
    """What Transformers' own pipeline gives, a text at a time: scores by label number, and labels."""
    from transformers import pipeline

    run = pipeline("text-classification", str(folder), device="cpu")
    names = run.model.config.id2label
    rows = []
    for text in TEXTS:
        labelled = run(text, top_k=None, truncation=True, max_length=longest)
        by_name = {one["label"]: one["score"] for one in labelled}
        rows.append([by_name[names[number]] for number in range(len(names))])
    return np.array(rows), [names[number] for number in range(len(names))]


def by_sentences(folder: Path) -> NDArray[Any]:
    """What sentence-transformers gives, a text at a time."""
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu").encode(list(TEXTS), batch_size=1)


def test_a_classifier_without_a_pad_token_pools_each_rows_own_last_token(tmp_path: Path) -> None:
    folder = hf_models.gpt2(tmp_path / "gpt2")
    hf_models.change(folder / "config.json", pad_token_id=5)

    found = given(folder, tmp_path / "model")

    wanted, labels = by_pipeline(folder, 64)
    assert [str(label) for label in found["label"]] == [labels[i] for i in wanted.argmax(axis=1)]
    assert np.abs(found["probabilities"] - wanted).max() < 1e-5


def test_a_sentence_model_that_lowers_case_does(tmp_path: Path) -> None:
    folder = hf_models.sentences(tmp_path / "lower", do_lower_case=True)

    found = given(folder, tmp_path / "model")["embedding"]

    wanted = by_sentences(folder)
    assert np.abs(found - wanted).max() < 1e-5


@pytest.mark.parametrize("says", [True, False])
def test_the_tokenizers_configuration_overrules_its_file(tmp_path: Path, says: bool) -> None:
    folder = hf_models.bert(tmp_path / "cased", num_labels=3, tokenizer={"lowercase": not says})
    hf_models.change(
        folder / "tokenizer_config.json", tokenizer_class="BertTokenizer", do_lower_case=says
    )

    found = given(folder, tmp_path / "model")

    wanted, _ = by_pipeline(folder, 64)
    assert np.abs(found["probabilities"] - wanted).max() < 1e-5


def test_a_default_prompt_is_put_before_each_text(tmp_path: Path) -> None:
    prompts = {"prompts": {"query": "which passage: "}, "default_prompt_name": "query"}
    folder = hf_models.sentences(tmp_path / "prompted", "Normalize", prompts=prompts)

    found = given(folder, tmp_path / "model")["embedding"]

    wanted = by_sentences(folder)
    assert np.abs(found - wanted).max() < 1e-5


def test_a_model_with_1024_positions_reads_1024_tokens(tmp_path: Path) -> None:
    folder = hf_models.bert(tmp_path / "long", max_position_embeddings=1024)
    hf_models.change(folder / "tokenizer_config.json", model_max_length=None)

    card = adopt(folder, tmp_path / "model", "text", licence="mit")

    (one,) = loaded(tmp_path / "model").decode(pa.record_batch({"text": ["day " * 2000]})).values
    assert len(one) == 1024
    assert card.preprocess.options.max_tokens == 1024


def test_the_card_keeps_what_the_import_compared(tmp_path: Path) -> None:
    import transformers

    adopt(hf_models.distilbert(tmp_path / "one"), tmp_path / "model", "text", licence="mit")

    ids, outputs = read_card(tmp_path / "model").checks
    assert (ids.compared, ids.largest_difference, ids.allowed) == ("token ids", 0, 0)
    assert (outputs.compared, outputs.library) == ("probabilities", "transformers")
    assert outputs.version == transformers.__version__
    assert ids.rows == outputs.rows == 11
    assert outputs.largest_difference <= 1e-5 < outputs.allowed


def test_a_network_whose_rows_depend_on_their_batch_is_refused(tmp_path: Path) -> None:
    folder = hf_models.xlnet(tmp_path / "xlnet")

    with pytest.raises(ModelError, match="other results"):
        adopt(folder, tmp_path / "model", "text", licence="mit")

    assert not (tmp_path / "model").exists()


def test_other_token_ids_than_the_librarys_are_refused(tmp_path: Path) -> None:
    folder, other = hf_models.bert(tmp_path / "cased"), tmp_path / "lower"
    hf_models.wordpiece(other, lowercase=True)
    card = adopt(folder, tmp_path / "model", "text", licence="mit")

    with pytest.raises(ModelError, match="token ids differ"):
        import_check.checked(folder, tmp_path / "model", card, library_tokenizer(other))


def test_two_labels_without_names_are_named_as_transformers_names_them(tmp_path: Path) -> None:
    folder = hf_models.bert(tmp_path / "two")
    assert "id2label" not in (folder / "config.json").read_text("utf-8")

    found = given(folder, tmp_path / "model")

    wanted, labels = by_pipeline(folder, 64)
    assert labels == ["LABEL_0", "LABEL_1"]
    assert [str(label) for label in found["label"]] == [labels[i] for i in wanted.argmax(axis=1)]


def test_a_prompt_is_taken_by_its_name_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    prompts = {"prompts": {"query": "which passage: ", "passage": ""}}
    folder = hf_models.sentences(tmp_path / "prompted", prompts=prompts)

    with pytest.raises(ModelError, match="query, passage"):
        adopt(folder, tmp_path / "no", "text", ImportOptions(prompt_name="quer"), licence="mit")
    card = adopt(
        folder, tmp_path / "model", "text", ImportOptions(prompt_name="query"), licence="mit"
    )

    assert card.preprocess.options.prompt == "which passage: "


def without_pad_token(folder: Path) -> Path:
    hf_models.gpt2(folder)
    hf_models.change(folder / "config.json", pad_token_id=None)
    return folder


def with_unknown_key(folder: Path) -> Path:
    return hf_models.sentences(folder, processing_kwargs={"text": {"max_length": 8}})


def without_prompt_in_the_vector(folder: Path) -> Path:
    hf_models.sentences(folder, prompts={"prompts": {"query": "q: "}})
    hf_models.change(folder / "1_Pooling" / "config.json", include_prompt=False)
    return folder


REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "GPT-2 without pad_token_id": (without_pad_token, "set pad_token_id"),
    "one output without a problem_type": (
        lambda folder: hf_models.bert(folder, num_labels=1),
        "problem_type: regression",
    ),
    "token classification": (
        lambda folder: hf_models.bert(folder, "TokenClassification"),
        "a label for each token",
    ),
    "translation": (
        lambda folder: hf_models.t5(folder, "T5ForConditionalGeneration"),
        "an encoder and a decoder",
    ),
    "encoder and decoder": (lambda folder: hf_models.t5(folder, "T5Model"), "an encoder alone"),
    "pictures": (hf_models.vit, "a label for a picture"),
    "an unknown key of the Transformer module": (with_unknown_key, "processing_kwargs"),
    "a prompt that is not pooled": (without_prompt_in_the_vector, "include_prompt"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_done_is_refused_with_what_would_be_needed(tmp_path: Path, case: str) -> None:
    make, why = REFUSED[case]
    folder = make(tmp_path / "source")

    with pytest.raises(ModelError, match=why):
        adopt(folder, tmp_path / "model", "text", licence="mit")


@pytest.mark.parametrize("by_library", [True, False])
def test_only_texts_that_were_cut_have_a_warning(tmp_path: Path, by_library: bool) -> None:
    adopt(hf_models.bert(tmp_path / "bert"), tmp_path / "model", "text", licence="mit")
    model = loaded(tmp_path / "model")
    if by_library:  # the files as they were saved, by Transformers
        from millrace.udfs.tokenization.tokenizer import TokenDecoder

        decode = TokenDecoder(tmp_path / "bert", model.card)
    else:
        decode = model.decode
    fits = "day " * 62  # with the two special tokens, 64
    texts = ["day", fits, fits + "day", None, "night " * 500]

    found = decode(pa.record_batch({"text": pa.array(texts, pa.string())}))

    assert found.lengths is not None
    assert found.lengths.tolist() == [3, 64, 64, 64]
    assert found.warnings == {2: TRUNCATED, 4: TRUNCATED}
