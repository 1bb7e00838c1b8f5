from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
import yaml
from helpers import bert_card, columns_mlp, image_cnn, loaded, pixel_mlp, tiny_bert
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from millrace.schemas.errors import (
    JobFileError,
    MillraceError,
    ModelError,
    OutputMismatch,
    RunFailed,
)
from millrace.schemas.model import ModelCard
from millrace.udfs.engine.metering import Meter, TaskAttempt
from millrace.udfs.engine.scoring import score
from millrace.udfs.graphs.networks import NETWORKS, build
from millrace.udfs.models import model_loading
from millrace.udfs.models.model_loading import digest_of, load, read_card, sha256, verify
from millrace.udfs.runtime.plan import Plan, Runtime


def card_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((folder / "model.yaml").read_text("utf-8"))
    return found


def rewrite(folder: Path, **changes: Any) -> None:
    """Change the card as an attacker or a careless hand would: by hand."""
    text = yaml.safe_dump({**card_of(folder), **changes}, sort_keys=False)
    (folder / "model.yaml").write_text(text, "utf-8")


def list_file(folder: Path, name: str) -> None:
    rewrite(folder, files={**card_of(folder)["files"], name: sha256(folder / name)})


def scored(folder: Path, **columns: pa.Array) -> list[dict[str, Any]]:
    batch = pa.RecordBatch.from_pydict(columns)
    plan = Plan(inputs=tuple(columns))
    out = score([batch], lambda: loaded(folder), plan, Meter(TaskAttempt()))
    return [row for part in out for row in part.to_pylist()]


# what a folder holds


def test_a_whole_folder_is_loaded_once_a_process(tmp_path: Path) -> None:
    folder = pixel_mlp(tmp_path)

    assert loaded(folder) is loaded(folder)
    assert loaded(folder).device == "cpu"


def test_a_changed_weight_file_is_named_with_both_digests(tmp_path: Path) -> None:
    folder = pixel_mlp(tmp_path)
    weights = folder / "weights.safetensors"
    promised = sha256(weights)
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)

    with pytest.raises(ModelError, match=r"weights\.safetensors") as caught:
        loaded(folder)

    assert promised in str(caught.value.allowed)
    assert sha256(weights) in str(caught.value.got)


def test_a_file_more_or_a_file_less_than_the_card_lists_is_refused(tmp_path: Path) -> None:
    folder = pixel_mlp(tmp_path)
    card = read_card(folder)
    (folder / "extra.json").write_text("{}")
    with pytest.raises(ModelError, match="does not hold") as caught:
        verify(folder, card)
    assert "not listed: ['extra.json']" in str(caught.value.got)

    (folder / "extra.json").unlink()
    (folder / "weights.safetensors").unlink()
    with pytest.raises(ModelError) as caught:
        verify(folder, card)
    assert "missing: ['weights.safetensors']" in str(caught.value.got)


def test_a_hidden_file_and_a_file_in_a_folder_below_are_seen_too(tmp_path: Path) -> None:
    folder = pixel_mlp(tmp_path)
    for name in (".hidden", "below/code.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")
        with pytest.raises(ModelError, match="does not hold"):
            verify(folder, read_card(folder))
        (folder / name).unlink()


def test_a_folder_that_changed_after_the_driver_looked_is_refused(tmp_path: Path) -> None:
    folder = pixel_mlp(tmp_path)
    digest = digest_of(folder)
    rewrite(folder, licence="other")

    with pytest.raises(ModelError, match="changed during the run"):
        load(folder, digest, Runtime("cpu"))


def test_a_folder_without_a_card_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model there") as caught:
        read_card(tmp_path)

    assert caught.value.got == str(tmp_path)


class Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize(
    "name", ["weights.pkl", "pytorch_model.bin", "model.pt2", "model.pt", "modeling.py", "a.so"]
)
def test_a_file_that_may_hold_code_is_refused_and_never_run(tmp_path: Path, name: str) -> None:
    folder, marker = pixel_mlp(tmp_path / "model"), tmp_path / "was-run"
    (folder / name).write_bytes(pickle.dumps(Payload(marker)))
    list_file(folder, name)

    with pytest.raises(JobFileError, match="may hold code"):
        loaded(folder)

    assert not marker.exists()
    pickle.loads((folder / name).read_bytes())
    assert marker.exists()  # the payload bites where something does run it


def test_a_pickle_that_is_called_safetensors_is_refused_and_never_run(tmp_path: Path) -> None:
    folder, marker = pixel_mlp(tmp_path / "model"), tmp_path / "was-run"
    (folder / "weights.safetensors").write_bytes(pickle.dumps(Payload(marker)))
    list_file(folder, "weights.safetensors")

    with pytest.raises(ModelError):
        loaded(folder)

    assert not marker.exists()


@pytest.mark.parametrize("name", ["../secret.json", "/etc/passwd.json", "a/../../secret.json"])
def test_a_path_out_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    folder = pixel_mlp(tmp_path / "model")
    (tmp_path / "secret.json").write_text("{}")
    rewrite(folder, files={**card_of(folder)["files"], name: sha256(tmp_path / "secret.json")})

    with pytest.raises(JobFileError, match="outside of the model's folder"):
        read_card(folder)


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = pixel_mlp(tmp_path / "model")
    (tmp_path / "secret.json").write_text("{}")
    (folder / "link.json").symlink_to(tmp_path / "secret.json")
    list_file(folder, "link.json")

    with pytest.raises(ModelError, match=r"link\.json"):
        loaded(folder)


def test_an_environment_variable_in_a_card_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "canary")
    folder = pixel_mlp(tmp_path)
    rewrite(folder, licence="${SECRET}")

    with pytest.raises(MillraceError) as caught:
        read_card(folder)

    assert "canary" not in str(caught.value)


# weights and architecture


def test_weights_of_another_size_are_refused_by_name(tmp_path: Path) -> None:
    folder = pixel_mlp(tmp_path)
    rewrite(folder, architecture={"name": "mlp", "options": {"hidden": [9], "outputs": 3}})

    with pytest.raises(ModelError, match="do not fit the architecture") as caught:
        loaded(folder)

    assert "layers.1.weight" in str(caught.value.got)


def test_a_missing_tensor_is_refused_by_name(tmp_path: Path) -> None:
    folder = pixel_mlp(tmp_path)
    weights = load_file(folder / "weights.safetensors")
    del weights["layers.3.bias"]
    save_file(weights, folder / "weights.safetensors")
    list_file(folder, "weights.safetensors")

    with pytest.raises(ModelError, match=r"layers\.3\.bias"):
        loaded(folder)


def test_two_weight_files_are_refused(tmp_path: Path) -> None:
    folder = pixel_mlp(tmp_path)
    shutil.copy(folder / "weights.safetensors", folder / "more.safetensors")
    list_file(folder, "more.safetensors")

    with pytest.raises(JobFileError, match="one file of weights"):
        loaded(folder)


@pytest.mark.parametrize(
    ("name", "options"),
    [("mlp", {"hiden": [3]}), ("mlp", {"hidden": 3}), ("lstm", {}), ("cnn", {"channels": "x"})],
)
def test_options_that_an_architecture_does_not_have_are_refused(
    name: str, options: dict[str, Any]
) -> None:
    with pytest.raises(ModelError, match=name):
        build(name, (3,), options)


@pytest.mark.parametrize(
    ("name", "shape", "width"), [("mlp", (4, 4), 1), ("cnn", (3, 8, 8), 10), ("lstm", (5, 2), 1)]
)
def test_every_network_gives_a_row_for_a_row(name: str, shape: tuple[int, ...], width: int) -> None:
    network = build(name, shape, {}).eval()
    x = torch.rand(7, *shape)

    with torch.inference_mode():
        whole, alone = network(x), network(x[3:4])

    assert whole.shape == (7, width)
    assert torch.allclose(whole[3:4], alone, atol=1e-5)
    assert set(NETWORKS) == {"mlp", "cnn", "lstm"}


# the card itself


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "pickle"},
        {"format": "huggingface"},
        {"architecture": None},
        {"preprocess": {"name": "eval"}},
        {"postprocess": {"name": "eval"}},
        {"name": "../x"},
        {"unknown": 1},
        {"files": {}},
        {"files": {"a.json": "abc"}},
        {"signature": {"inputs": {"p": {"type": "string"}}, "outputs": {"label": {"type": "int"}}}},
        {"signature": {"inputs": {"p": {"type": "binary"}}, "outputs": {"nope": {"type": "int"}}}},
        {"signature": {"inputs": {"p": {"type": "blob"}}, "outputs": {"label": {"type": "int"}}}},
        {"signature": {"inputs": {}, "outputs": {"label": {"type": "int"}}}},
    ],
    ids=str,
)
def test_a_card_that_promises_what_is_not_there_is_refused(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    with pytest.raises(ValidationError):
        ModelCard.model_validate({**card_of(pixel_mlp(tmp_path)), **changes})


@pytest.mark.parametrize(
    ("preprocess", "inputs"),
    [
        ("pixels", {"a": {"type": "binary", "shape": [2]}, "b": {"type": "binary", "shape": [2]}}),
        ("image", {"a": {"type": "binary", "shape": [4, 4]}}),
        ("image", {"a": {"type": "binary", "shape": [2, 4, 4]}}),
        ("tokens", {"a": {"type": "string"}}),
    ],
    ids=["two columns of pixels", "image without channels", "two channels", "tokens for an mlp"],
)
def test_inputs_that_the_step_cannot_read_are_refused_before_any_worker_starts(
    tmp_path: Path, preprocess: str, inputs: dict[str, Any]
) -> None:
    card = card_of(pixel_mlp(tmp_path))
    signature = {"inputs": inputs, "outputs": card["signature"]["outputs"]}

    with pytest.raises(ValidationError):
        ModelCard.model_validate(
            {**card, "signature": signature, "preprocess": {"name": preprocess}}
        )


def test_cuda_that_is_not_there_is_an_error_and_no_quiet_cpu(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    folder = pixel_mlp(tmp_path)

    with pytest.raises(RunFailed, match="asks for CUDA"):
        load(folder, digest_of(folder), Runtime("cuda"))


# preprocessing and postprocessing of a loaded model


def test_labels_are_named_by_the_card(tmp_path: Path) -> None:
    folder = pixel_mlp(
        tmp_path,
        outputs={"label": {"type": "string"}},
        postprocess={"name": "classify", "options": {"labels": ["a", "b", "é"]}},
    )

    (row,) = scored(folder, pixels=pa.array([b"\x00" * 16]))

    assert row["label"] in {"a", "b", "é"}


def test_a_label_of_the_wrong_type_names_column_got_and_allowed(tmp_path: Path) -> None:
    folder = pixel_mlp(tmp_path, postprocess={"name": "classify", "options": {"labels": [*"abc"]}})

    with pytest.raises(OutputMismatch, match="'label'") as caught:
        scored(folder, pixels=pa.array([b"\x00" * 16] * 40))  # of few each would be a bad row

    assert caught.value.allowed == "bigint"


def test_a_grey_png_is_read_by_the_cnn(tmp_path: Path) -> None:
    from tests.udfs.runtime.test_decode import png

    folder = image_cnn(tmp_path)
    cells = pa.array([png(4, 4), png(4, 4, "L", 9), b"broken"])

    rows = scored(folder, content=cells)

    assert [row["error"] is None for row in rows] == [True, True, False]
    assert rows[2]["label"] is None


def test_columns_are_read_one_number_each(tmp_path: Path) -> None:
    folder = columns_mlp(tmp_path, a="int", b="double", c="boolean")

    rows = scored(
        folder,
        a=pa.array([1, None], pa.int32()),
        b=pa.array([0.5, 0.5]),
        c=pa.array([True, True]),
    )

    weights = load_file(folder / "weights.safetensors")
    x = torch.tensor([1.0, 0.5, 1.0])
    hidden = torch.relu(weights["layers.1.weight"] @ x + weights["layers.1.bias"])
    expected = weights["layers.3.weight"] @ hidden + weights["layers.3.bias"]
    assert rows[0]["value"] == pytest.approx(expected.item(), abs=1e-5)
    assert rows[1]["error"]["kind"] == "decode"


# Hugging Face folders


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("embedder"), "embed")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("classifier"), "classify")


TEXTS = ["good day", "", "the night 😀 שלום", "bad " * 200, "a", "xyz unknown", "good day"]


def test_texts_become_the_normalized_mean_of_their_tokens(embedder: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    rows = scored(embedder, text=pa.array(TEXTS))

    tokenizer, network = (
        AutoTokenizer.from_pretrained(embedder),
        AutoModel.from_pretrained(embedder),
    )
    for row, text in zip(rows, TEXTS, strict=True):
        given = tokenizer(text, truncation=True, max_length=32, return_tensors="pt")
        with torch.inference_mode():
            state = network(given["input_ids"], given["attention_mask"])[0][0].mean(dim=0)
        expected = torch.nn.functional.normalize(state, dim=0)
        assert row["embedding"] == pytest.approx(expected.tolist(), abs=1e-5)


def test_a_null_text_fails_alone(embedder: Path) -> None:
    rows = scored(embedder, text=pa.array(["good", None, "bad"]))

    assert [row["error"] and row["error"]["message"] for row in rows] == [None, "null", None]
    assert rows[1]["embedding"] is None
    assert rows[0]["embedding"] != rows[2]["embedding"]


def test_tokens_are_counted_as_they_are_computed(embedder: Path) -> None:
    rows = scored(embedder, text=pa.array(["good day", None, "bad " * 200]))

    assert rows[0]["_meter"]["tokens"] == 4 + 32  # with [CLS] and [SEP]; cut at 32


def test_texts_are_classified_with_the_names_of_the_card(classifier: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    rows = scored(classifier, text=pa.array(TEXTS))

    tokenizer = AutoTokenizer.from_pretrained(classifier)
    network = AutoModelForSequenceClassification.from_pretrained(classifier)
    for row, text in zip(rows, TEXTS, strict=True):
        given = tokenizer(text, truncation=True, max_length=32, return_tensors="pt")
        with torch.inference_mode():
            logits = network(given["input_ids"], given["attention_mask"]).logits[0]
        assert row["label"] == ["negative", "positive"][int(logits.argmax())]
        assert row["score"] == pytest.approx(torch.softmax(logits, 0).max().item(), abs=1e-5)


def test_a_classifier_whose_head_has_no_weights_is_refused_and_not_made_up(
    embedder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "headless"
    shutil.copytree(embedder, folder)
    bert_card(folder, "classify")

    with pytest.raises(ModelError, match="classifier"):
        loaded(folder)


def test_weights_of_another_width_are_refused_as_the_models_fault(
    embedder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "wide"
    shutil.copytree(embedder, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 24}))
    bert_card(folder, "embed")

    with pytest.raises(ModelError):
        loaded(folder)


def test_a_text_longer_than_the_model_reads_is_cut_whatever_the_card_says(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path, "embed", positions=16, max_tokens=None)

    (row,) = scored(folder, text=pa.array(["good " * 1000]))

    assert row["error"] is None
    assert row["_meter"]["tokens"] == 16


def test_code_beside_hugging_face_weights_is_not_run(embedder: Path, tmp_path: Path) -> None:
    folder, marker = tmp_path / "model", tmp_path / "was-run"
    shutil.copytree(embedder, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.C", "AutoModel": "evil.M"}}
    (folder / "config.json").write_text(json.dumps(config))
    bert_card(folder, "embed")
    (folder / "evil.py").write_text(f"import pathlib; pathlib.Path({str(marker)!r}).touch()")

    with pytest.raises(MillraceError, match="does not hold"):  # the file that no card may list
        loaded(folder)
    (folder / "evil.py").unlink()
    with pytest.raises(MillraceError):
        loaded(folder)

    assert not marker.exists()


def test_a_token_free_text_is_an_error_of_its_row_alone(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path, "embed")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps({**tokenizer, "post_processor": None}))
    bert_card(folder, "embed")

    alone = scored(folder, text=pa.array([""]))
    among = scored(folder, text=pa.array(["good", "", "bad"]))

    assert alone[0]["error"] is not None
    assert [row["error"] is None for row in among] == [True, False, True]


def test_loaded_models_are_kept_by_digest_and_not_by_folder(tmp_path: Path) -> None:
    folder = pixel_mlp(tmp_path)
    first = loaded(folder)
    rewrite(folder, version="2")

    assert loaded(folder) is not first
    assert loaded(folder).card.version == "2"
    assert model_loading.sha256(folder / "model.yaml") == digest_of(folder)
