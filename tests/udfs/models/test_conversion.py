from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from helpers import bert_card, loaded, pixel_mlp, tiny_bert

from millrace.pipelines.job.model_check import verified_model
from millrace.schemas.errors import ModelError
from millrace.schemas.model import ModelCard
from millrace.udfs.backends.onnx_external_data import check_external_data
from millrace.udfs.models import conversion as convert_module
from millrace.udfs.models.conversion import convert
from millrace.udfs.models.loaded_model import LoadedModel
from millrace.udfs.models.model_folder import write_card
from millrace.udfs.models.model_loading import digest_of, load, read_card, runtimes, verify
from millrace.udfs.runtime.plan import Runtime
from tests.helpers import job_of


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("embedder"), "embed")


@pytest.fixture(scope="module")
def onnx_embedder(embedder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("converted") / "onnx"
    convert(embedder, out, "onnx")
    return out


@pytest.fixture(scope="module")
def openvino_embedder(embedder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("converted") / "openvino"
    convert(embedder, out, "openvino")
    return out


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small network in every format that there is."""
    root = tmp_path_factory.mktemp("formats")
    source = pixel_mlp(root / "model")
    for format_ in ("onnx", "openvino", "torchscript"):
        convert(source, root / format_, format_)
    return {format_: root / format_ for format_ in ("onnx", "openvino", "torchscript")}


# what a converted folder is


def test_a_converted_folder_says_what_its_source_says_and_what_it_was_made_from(
    embedder: Path, onnx_embedder: Path
) -> None:
    source, made = read_card(embedder), read_card(onnx_embedder)

    verify(onnx_embedder, made)
    assert made.made_from is not None
    assert made.made_from.digest == digest_of(embedder)
    assert (made.made_from.format, made.made_from.precision) == ("huggingface", "fp32")
    same = {"name", "version", "signature", "preprocess", "postprocess", "licence", "tolerance"}
    assert made.model_dump(include=same) == source.model_dump(include=same)


def test_a_folder_that_is_there_is_not_overwritten(embedder: Path, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("mine")

    with pytest.raises(ModelError, match="exists already"):
        convert(embedder, tmp_path / "kept", "onnx")

    assert (tmp_path / "kept" / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("backend", "precision"), [("openvino", "int8"), ("onnx", "bf16"), ("tensorrt", "fp32")]
)
def test_a_conversion_that_does_not_exist_is_refused_with_those_that_do(
    embedder: Path, tmp_path: Path, backend: str, precision: str
) -> None:
    with pytest.raises(ModelError, match=f"no conversion to {backend}") as caught:
        convert(embedder, tmp_path / "out", backend, precision)

    assert "openvino: fp32" in str(caught.value.allowed)
    assert list(tmp_path.iterdir()) == []


def test_a_conversion_whose_packages_are_missing_says_what_to_install(
    embedder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convert_module, "has_package", lambda name: name != "onnxscript")

    with pytest.raises(ModelError, match="not installed") as caught:
        convert(embedder, tmp_path / "out", "onnx")

    assert (caught.value.got, caught.value.next) == (
        "missing: onnxscript",
        "pip install 'millrace[onnx]'",
    )


def test_a_converted_folder_is_no_source(onnx_embedder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not its source"):
        convert(onnx_embedder, tmp_path / "out", "openvino")


def test_a_source_that_was_changed_is_not_converted(tmp_path: Path) -> None:
    folder = pixel_mlp(tmp_path / "model")
    content = bytearray((folder / "weights.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "weights.safetensors").write_bytes(content)

    with pytest.raises(ModelError, match="is not the one"):
        convert(folder, tmp_path / "out", "onnx")


def test_a_graph_that_gives_other_results_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from millrace.udfs.backends import graph_export

    def wrong(graph: torch.nn.Module, example: tuple[np.ndarray, ...], folder: Path) -> None:
        with torch.no_grad():
            next(graph.parameters()).mul_(1.01)
        graph_export.onnx(graph, example, folder)

    monkeypatch.setitem(graph_export.EXPORTS, "onnx", wrong)
    folder = pixel_mlp(tmp_path / "model")

    with pytest.raises(ModelError, match="gives other results"):
        convert(folder, tmp_path / "out", "onnx")

    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_tokenizer_without_tokenizer_json_travels_too(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "model", "embed")
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    (folder / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=vocabulary.get)))
    (folder / "tokenizer.json").unlink()
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(
        json.dumps({**config, "tokenizer_class": "BertTokenizer"})
    )
    bert_card(folder, "embed")

    convert(folder, tmp_path / "out", "onnx")

    texts = pa.record_batch({"text": ["good day", "the night 😀 שלום", "", "badly!"]})
    source = loaded(folder)
    made = LoadedModel(tmp_path / "out", read_card(tmp_path / "out"), Runtime("cpu", "onnxruntime"))
    expected = source.predict(source.decode(texts).values)["embedding"]
    found = made.predict(made.decode(texts).values)["embedding"]
    assert np.abs(found - expected).max() <= 1e-5


# what a worker imports


WORKER = """
import json, sys
from pathlib import Path
import psutil, pyarrow as pa
from millrace.udfs.engine.scoring import score
from millrace.udfs.engine.metering import Meter, TaskAttempt
from millrace.udfs.models.model_loading import digest_of, load
from millrace.udfs.runtime.plan import Plan, Runtime

folder, backend = Path(sys.argv[1]), sys.argv[2]
batch = pa.record_batch({"text": ["good day", None, "bad"]})
model = load(folder, digest_of(folder), Runtime("cpu", backend))
(out,) = score([batch], lambda: model, Plan(("text",)), Meter(TaskAttempt()))
heavy = [n for n in ("torch", "transformers", "tokenizers", "pyspark", "onnxscript") if n in sys.modules]
print(json.dumps({"rows": out["embedding"].to_pylist(), "heavy": heavy, "rss_mb": psutil.Process().memory_info().rss >> 20}))
"""


def in_a_process(folder: Path, backend: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", WORKER, str(folder), backend],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_worker_with_openvino_or_onnx_imports_no_torch_and_is_smaller(
    embedder: Path,
    onnx_embedder: Path,
    openvino_embedder: Path,
    record_property: pytest.RecordProperty,
) -> None:
    torch_worker = in_a_process(embedder, "torch")
    others = {
        "onnxruntime": in_a_process(onnx_embedder, "onnxruntime"),
        "openvino": in_a_process(openvino_embedder, "openvino"),
    }

    assert torch_worker["heavy"] == ["torch", "transformers", "tokenizers"]
    for name, worker in others.items():
        record_property(f"{name}_rss_mb", worker["rss_mb"])
        assert worker["heavy"] == ["tokenizers"], name
        assert worker["rss_mb"] < torch_worker["rss_mb"], name  # type: ignore[operator]
        for row, expected in zip(worker["rows"], torch_worker["rows"], strict=True):  # type: ignore[call-overload]
            assert row == (expected and pytest.approx(expected, abs=1e-5))


# what is data, and what is code


def test_torchscript_is_refused_unless_the_job_trusts_code(
    converted: dict[str, Path], tmp_path: Path
) -> None:
    source = pixel_mlp(tmp_path / "model")
    job = job_of(tmp_path, converted["torchscript"])
    with pytest.raises(ModelError, match="may hold code") as caught:
        verified_model(job)
    assert "trust: code" in str(caught.value.next)

    trusting = job.model_copy(update={"model": job.model.model_copy(update={"trust": "code"})})
    assert verified_model(trusting).card.format == "torchscript"
    assert verified_model(job_of(tmp_path, source)).card.format == "safetensors"


def onnx_with_weights_at(folder: Path, place: str) -> None:
    import onnx

    model = onnx.load(folder / "model.onnx", load_external_data=False)
    stored = [one for one in model.graph.initializer if one.external_data]
    assert stored
    for entry in stored[0].external_data:
        if entry.key == "location":
            entry.value = place
    (folder / "model.onnx").write_bytes(model.SerializeToString())


@pytest.mark.parametrize("place", ["../secret.data", "/etc/passwd", "other.data", "a/../../x.data"])
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_onnx_weights_outside_of_the_listed_files_are_refused(
    onnx_embedder: Path, tmp_path: Path, place: str, backend: str
) -> None:
    folder = tmp_path / "onnx"
    shutil.copytree(onnx_embedder, folder)
    (tmp_path / "secret.data").write_bytes(b"\1" * (1 << 20))
    onnx_with_weights_at(folder, place)
    card = rewritten(folder)

    with pytest.raises(ModelError, match="does not list") as caught:
        LoadedModel(folder, card, Runtime("cpu", backend))

    assert caught.value.got == place
    with pytest.raises(ModelError, match="does not list"):
        check_external_data(folder, "model.onnx", card)


def rewritten(folder: Path) -> ModelCard:
    """The folder's card for the files that are there now."""
    old = read_card(folder).model_dump(mode="json", exclude={"files"}, exclude_defaults=True)
    return write_card(folder, **old)


def test_weights_inside_a_branch_of_an_onnx_graph_are_looked_at_too(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    away = helper.make_tensor("w", TensorProto.FLOAT, [1], [0.0])
    away.ClearField("float_data")
    away.data_location = TensorProto.EXTERNAL
    away.external_data.add(key="location", value="../secret.data")
    value = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["y"], value=away)], "branch", [], [value]
    )
    choose = helper.make_node("If", ["c"], ["z"], then_branch=branch, else_branch=branch)
    graph = helper.make_graph(
        [choose],
        "graph",
        [helper.make_tensor_value_info("c", TensorProto.BOOL, [])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1])],
    )
    onnx.save(helper.make_model(graph), tmp_path / "model.onnx")
    card = ModelCard.model_construct(files={"model.onnx": "0" * 64})

    with pytest.raises(ModelError, match="does not list"):
        check_external_data(tmp_path, "model.onnx", card)


@pytest.mark.parametrize("name", ["model.onnx", "model.xml", "model.ts"])
def test_a_graph_that_is_no_graph_is_refused_as_the_models_fault(
    converted: dict[str, Path], tmp_path: Path, name: str
) -> None:
    format_ = {"model.onnx": "onnx", "model.xml": "openvino", "model.ts": "torchscript"}[name]
    shutil.copytree(converted[format_], tmp_path / "out")
    (tmp_path / "out" / name).write_bytes(b"<xml>no model</xml>")
    card = rewritten(tmp_path / "out")

    for runtime in runtimes(card, "cpu"):
        with pytest.raises(ModelError):
            LoadedModel(tmp_path / "out", card, runtime)


@pytest.mark.parametrize("name", ["weights.pkl", "model.pt2", "plugin.so", "modeling.py"])
@pytest.mark.parametrize("format_", ["onnx", "openvino", "torchscript"])
def test_no_format_lists_files_of_other_kinds(
    converted: dict[str, Path], tmp_path: Path, name: str, format_: str
) -> None:
    folder = tmp_path / "out"
    shutil.copytree(converted[format_], folder)
    (folder / name).write_bytes(b"x")

    with pytest.raises(ModelError, match="may hold code"):
        rewritten(folder)


def test_openvino_has_the_weights_of_its_graph_and_no_other_bin(
    converted: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(converted["openvino"], tmp_path / "out")
    (tmp_path / "out" / "pytorch_model.bin").write_bytes(b"x")

    with pytest.raises(ModelError, match="reads model.bin alone"):
        rewritten(tmp_path / "out")


# graphs that somebody else exported


def test_a_foreign_onnx_classifier_is_scaled_and_ends_in_probabilities(tmp_path: Path) -> None:
    source = pixel_mlp(tmp_path / "model")
    network = loaded(source).runner.graph.network  # type: ignore[attr-defined]
    folder = foreign(tmp_path / "foreign", network, (torch.rand(2, 4, 4),), read_card(source))
    pixels = pa.record_batch({"pixels": [bytes(range(16)), bytes(16), b"\xff" * 16]})

    expected = answers(loaded(source), pixels)
    for runtime in runtimes(read_card(folder), "cpu"):
        if runtime.precision == "fp32":
            found = answers(load(folder, digest_of(folder), runtime), pixels)
            assert np.abs(found["probabilities"] - expected["probabilities"]).max() <= 1e-5
            assert list(found["label"]) == list(expected["label"])


class Bert(torch.nn.Module):
    """A BERT as it is often exported: with token types, and ending in the states of all tokens."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, input_ids: torch.Tensor, token_type_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> torch.Tensor:
        states: torch.Tensor = self.network(
            input_ids=input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            return_dict=False,
        )[0]
        return states


def test_a_foreign_onnx_encoder_with_token_types_is_pooled_and_normalized(
    embedder: Path, tmp_path: Path
) -> None:
    network = Bert(loaded(embedder).runner.graph.network).eval()  # type: ignore[attr-defined]
    ids = torch.ones(2, 5, dtype=torch.long)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]])  # all ones would be traced as no mask
    folder = foreign(tmp_path / "foreign", network, (ids, 0 * ids, mask), read_card(embedder))
    for path in embedder.glob("*.json"):
        (folder / path.name).write_bytes(path.read_bytes())
    rewritten(folder)
    texts = pa.record_batch({"text": ["good day", "bad " * 50, "a"]})

    expected = answers(loaded(embedder), texts)["embedding"]
    for runtime in runtimes(read_card(folder), "cpu"):
        if runtime.precision == "fp32":
            found = answers(load(folder, digest_of(folder), runtime), texts)["embedding"]
            assert np.abs(found - expected).max() <= 1e-5


def test_a_foreign_graph_that_wants_other_inputs_is_refused_by_their_names(
    embedder: Path, tmp_path: Path
) -> None:
    network = loaded(pixel_mlp(tmp_path / "model")).runner.graph.network  # type: ignore[attr-defined]
    folder = foreign(tmp_path / "foreign", network, (torch.rand(2, 4, 4),), read_card(embedder))
    for path in embedder.glob("*.json"):
        (folder / path.name).write_bytes(path.read_bytes())

    with pytest.raises(ModelError, match="does not give") as caught:
        LoadedModel(folder, rewritten(folder), Runtime("cpu", "onnxruntime"))

    assert "input_ids" in str(caught.value.allowed)


def foreign(
    folder: Path, network: torch.nn.Module, example: tuple[torch.Tensor, ...], card: ModelCard
) -> Path:
    """An ONNX folder of the bare network, with the card that a user would write for it."""
    folder.mkdir()
    variable = torch.export.Dim.DYNAMIC
    axes = {0: variable, 1: variable} if len(example) > 1 else {0: variable}
    from millrace.udfs.backends.graph_export import _KNOWN_WARNINGS, _without

    with _without(_KNOWN_WARNINGS):
        exported = torch.export.export(network, example, dynamic_shapes=(axes,) * len(example))
        program = torch.onnx.export(exported, dynamo=True, verbose=False)
    assert program is not None
    program.save(folder / "model.onnx")
    fields = card.model_dump(
        mode="json", exclude={"files", "architecture", "made_from"}, exclude_defaults=True
    )
    if card.postprocess.name == "classify":
        fields["postprocess"]["options"] = {"output": "logits"}
    write_card(folder, **{**fields, "format": "onnx"})
    return folder


def answers(model: object, batch: pa.RecordBatch) -> dict[str, np.ndarray]:
    return dict(model.predict(model.decode(batch).values))  # type: ignore[attr-defined]


# the command


def test_the_command_converts_and_prints_one_object(tmp_path: Path) -> None:
    source, out = pixel_mlp(tmp_path / "model"), tmp_path / "made" / "onnx"
    command = ["model", "convert", str(source), "--to", "onnx", "--out", str(out), "--json"]

    done = millrace(*command)

    fields = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode, fields["format"], fields["digest"]) == (0, "onnx", digest_of(out))
    again = millrace(*command)
    assert again.returncode == 2
    assert "exists already" in json.loads(again.stdout.splitlines()[-1])["error"]


def test_the_command_explains_itself(tmp_path: Path) -> None:
    helped = millrace("model", "convert", "--help")

    assert helped.returncode == 0
    assert "millrace model convert model --to openvino" in helped.stdout


def millrace(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "millrace.pipelines.cli", *words],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
