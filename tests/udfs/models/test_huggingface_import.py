"""A folder of the Hub becomes a model folder that gives what Transformers gives, or says why it cannot."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from click.testing import CliRunner

from millrace.pipelines.cli import main
from millrace.schemas.errors import ModelError
from millrace.udfs.models.huggingface_import import adopt
from millrace.udfs.models.model_loading import read_card, verify
from tests.helpers import loaded, tiny_bert

TEXTS = ["the mill", "a river by the mill", "the"]
ADOPTED = "---\nlanguage: en\nlicense: apache-2.0\n---\n# A model\n"


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    return downloaded(tmp_path / "sentiment", "classify", id2label={"0": "bad", "1": "good"})


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    return downloaded(tmp_path / "encoder", "embed")


def downloaded(folder: Path, task: str, **config: Any) -> Path:
    """What a snapshot of the Hub is: no model.yaml, a README, files that nobody needs."""
    tiny_bert(folder, task)
    (folder / "model.yaml").unlink()
    (folder / "README.md").write_text(ADOPTED)
    (folder / "pytorch_model.bin").write_bytes(b"a pickle, which is code")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.onnx").write_bytes(b"another backend's")
    say(folder / "config.json", **config)
    return folder


def say(path: Path, **more: Any) -> None:
    before = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({**before, **more}))


def pooled_by(folder: Path, *kinds: str, **modes: bool) -> None:
    """The files in which sentence-transformers says how a folder's vectors are made."""
    paths = {"Transformer": "", "Pooling": "1_Pooling"}
    modules = [
        {
            "idx": number,
            "name": str(number),
            "path": paths.get(kind, kind),
            "type": f"sentence_transformers.models.{kind}",
        }
        for number, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    say(folder / "1_Pooling" / "config.json", word_embedding_dimension=16, **modes)


def batch(column: str) -> pa.RecordBatch:
    return pa.record_batch({column: TEXTS})


def test_a_classifier_gives_transformers_own_labels_and_scores(
    classifier: Path, tmp_path: Path
) -> None:
    from transformers import pipeline

    adopt(classifier, tmp_path / "model", "review")

    found = scored(tmp_path / "model", "review")
    expected = pipeline("text-classification", str(classifier), device="cpu")(TEXTS)
    assert [str(label) for label in found["label"]] == [one["label"] for one in expected]
    assert np.allclose(found["score"], [one["score"] for one in expected], atol=1e-6)


def scored(folder: Path, column: str) -> dict[str, Any]:
    from millrace.udfs.backends.postprocess import FINISHES
    from millrace.udfs.tokenization.tokenizer import padded

    model = loaded(folder)
    examples = model.decode(batch(column))
    assert not examples.errors
    ids = padded(examples.values, 0)
    card = read_card(folder)
    return FINISHES[card.postprocess.name](card.postprocess.options)(model.runner.run(ids))


@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize("mode", ["pooling_mode_mean_tokens", "pooling_mode_cls_token"])
def test_an_encoder_pools_as_its_own_files_say(
    encoder: Path, tmp_path: Path, mode: str, normalized: bool
) -> None:
    from transformers import AutoModel, AutoTokenizer

    kinds = ("Transformer", "Pooling", *(["Normalize"] if normalized else []))
    pooled_by(encoder, *kinds, **{mode: True, "pooling_mode_max_tokens": False})

    adopt(encoder, tmp_path / "model", "text")

    tokens = AutoTokenizer.from_pretrained(encoder)(TEXTS, padding=True, return_tensors="pt")
    inputs = {name: tokens[name] for name in ("input_ids", "attention_mask")}
    states = AutoModel.from_pretrained(encoder)(**inputs).last_hidden_state.detach()
    mask = inputs["attention_mask"].unsqueeze(-1)
    mean = (states * mask).sum(1) / mask.sum(1)
    wanted = mean if mode == "pooling_mode_mean_tokens" else states[:, 0]
    wanted = torch.nn.functional.normalize(wanted, dim=1) if normalized else wanted
    assert np.allclose(scored(tmp_path / "model", "text")["embedding"], wanted, atol=1e-5)


def test_only_data_is_taken_and_each_file_is_vouched_for(classifier: Path, tmp_path: Path) -> None:
    card = adopt(classifier, tmp_path / "model", "review")

    there = {path.name for path in (tmp_path / "model").rglob("*")}
    assert there == {"model.yaml", *card.files}
    assert not there & {"pytorch_model.bin", "model.onnx", "README.md"}
    verify(tmp_path / "model", read_card(tmp_path / "model"))
    assert (card.licence, card.name) == ("apache-2.0", "sentiment")


@pytest.mark.parametrize(
    ("said", "positions", "more", "longest"),
    [
        (None, 32, {}, 32),
        (None, 1024, {}, 1024),
        (24, 32, {}, 24),
        (10**30, 32, {}, 32),  # how tokenizers say that they do not know
        (None, 514, {"model_type": "roberta", "pad_token_id": 1}, 512),
    ],
)
def test_texts_are_cut_where_the_model_ends(
    tmp_path: Path, said: int | None, positions: int, more: dict[str, Any], longest: int
) -> None:
    from transformers import AutoConfig

    from millrace.udfs.models.text_task import longest as found

    config = {"model_type": "bert", "max_position_embeddings": positions, **more}
    say(tmp_path / "tokenizer_config.json", model_max_length=said)

    assert found(tmp_path, AutoConfig.for_model(**config), None, None) == longest


def only_pickles(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def with_code(folder: Path) -> None:
    say(folder / "config.json", auto_map={"AutoModel": "modeling_own.Own"})


def without_licence(folder: Path) -> None:
    (folder / "README.md").write_text("# A model\nlicense: none that begins the page\n")


def of_one_output(folder: Path) -> None:
    say(folder / "config.json", id2label={"0": "LABEL_0"})


def of_tokens(folder: Path) -> None:
    say(folder / "config.json", architectures=["BertForTokenClassification"])


def that_writes(folder: Path) -> None:
    say(folder / "config.json", architectures=["LlamaForCausalLM"])


def without_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def with_broken_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def with_a_dense_layer(folder: Path) -> None:
    say(folder / "config.json", architectures=["BertModel"])
    pooled_by(folder, "Transformer", "Pooling", "Dense", pooling_mode_mean_tokens=True)


def pooled_by_the_largest(folder: Path) -> None:
    say(folder / "config.json", architectures=["BertModel"])
    pooled_by(folder, "Transformer", "Pooling", pooling_mode_max_tokens=True)


def pooled_twice(folder: Path) -> None:
    say(folder / "config.json", architectures=["BertModel"])
    both = {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}
    pooled_by(folder, "Transformer", "Pooling", **both)


def pooled_by_nothing(folder: Path) -> None:
    say(folder / "config.json", architectures=["BertModel"])
    pooled_by(folder, "Transformer", "Pooling", pooling_mode_mean_tokens=False)


def with_broken_modules(folder: Path) -> None:
    say(folder / "config.json", architectures=["BertModel"])
    (folder / "modules.json").write_text("[")


def of_no_known_size(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps({**config, "architectures": ["BertModel"], "hidden_size": None})
    )


def without_a_head(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    body = {name: one for name, one in weights.items() if not name.startswith("classifier.")}
    save_file(body, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (only_pickles, "no weights as data"),
        (with_code, "code of its own"),
        (without_licence, "licence"),
        (of_one_output, "one output"),
        (of_tokens, "BertForTokenClassification"),
        (that_writes, "--max-new-tokens"),
        (without_config, "no folder of a Transformers model"),
        (with_broken_config, "is not JSON"),
        (with_a_dense_layer, "Dense"),
        (pooled_by_the_largest, "pooling_mode_max_tokens"),
        (pooled_twice, "in a way that is not known here"),
        (pooled_by_nothing, "in a way that is not known here"),
        (with_broken_modules, "is not JSON"),
        (of_no_known_size, "hidden_size"),
        (without_a_head, "missing"),
    ],
)
def test_what_cannot_be_taken_is_refused_and_leaves_nothing_behind(
    classifier: Path, tmp_path: Path, broken: Callable[[Path], None], why: str
) -> None:
    broken(classifier)

    with pytest.raises(ModelError, match=why):
        adopt(classifier, tmp_path / "out" / "model", "review")

    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


def test_a_folder_that_is_there_is_not_written_over(classifier: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()

    with pytest.raises(ModelError, match="exists already"):
        adopt(classifier, tmp_path / "model", "review")


def test_the_command_says_what_it_made(classifier: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    words = ["model", "import", str(classifier), "--text", "review", "--out", str(out)]

    result = CliRunner().invoke(main, [*words, "--json", "--licence", "mit", "--name", "mood"])

    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["model"], found["licence"], found["reads"]) == ("mood:1", "mit", "review")
    assert found["options"]["labels"] == ["bad", "good"]
    assert found["gives"] == {"label": "string", "score": "float"}
