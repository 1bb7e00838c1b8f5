"""Every option of every step: what is accepted changes something, and what is not known is refused."""

from __future__ import annotations

import io
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from helpers import (
    SIDE,
    columns_mlp,
    image_cnn,
    images,
    loaded,
    pixel_mlp,
    tiny_bert,
    vector_mlp,
)
from PIL import Image
from pydantic import BaseModel

from millrace.examples.generation import causal_card, causal_folder
from millrace.schemas.architecture import NETWORK_OPTIONS, Architecture
from millrace.schemas.errors import JobFileError, ModelError
from millrace.schemas.steps import Postprocess, Preprocess
from millrace.udfs.generation.causal_model import CausalModel
from millrace.udfs.graphs.networks import build
from millrace.udfs.models.conversion import BACKENDS, convert
from millrace.udfs.models.loaded_model import LoadedModel
from millrace.udfs.models.model_loading import read_card
from millrace.udfs.runtime.plan import Runtime
from tests.udfs.models.test_models import card_of, rewrite
from tests.udfs.runtime.test_decode import png

CPU = Runtime("cpu")
SAMPLED = {"do_sample": True}


def steps_of(union: Any) -> dict[str, type[BaseModel]]:
    """The members of a union of steps, by name."""
    members = typing.get_args(typing.get_args(union)[0])
    return {typing.get_args(one.model_fields["name"].annotation)[0]: one for one in members}


PRE, POST, NETWORKS = map(steps_of, (Preprocess, Postprocess, Architecture))


def options_of(steps: dict[str, type[BaseModel]]) -> set[tuple[str, str]]:
    """Every option of these steps: the step's name and the option's."""
    kinds = {name: typing.get_type_hints(step)["options"] for name, step in steps.items()}
    return {(name, option) for name, kind in kinds.items() for option in kind.model_fields}


# A folder whose card has the step, what the option is set to, and what else the card must say for it.
PIXELS = pa.record_batch({"pixels": pa.array(images(5))})
Folder = Callable[[Path], Path]


def image_batch() -> pa.RecordBatch:
    cells = [png(SIDE, SIDE), png(SIDE, SIDE, "RGB", (9, 200, 40))]
    return pa.record_batch({"content": pa.array(cells)})


def picture_batch() -> pa.RecordBatch:
    """A picture that was taken lying on its side, and one that is half transparent."""
    drawn = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 4), np.uint8)
    turned, clear = io.BytesIO(), io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(drawn[:, :, :3]).save(turned, "PNG", exif=exif)
    Image.fromarray(drawn).save(clear, "PNG")
    return pa.record_batch({"content": pa.array([turned.getvalue(), clear.getvalue()])})


def one_embedder(folder: Path) -> Path:
    return tiny_bert(folder, "embed")


def one_classifier(folder: Path) -> Path:
    return tiny_bert(folder, "classify")


def one_table(folder: Path) -> Path:
    return columns_mlp(folder, a="double", b="float")


NUMBERS = pa.record_batch({"a": pa.array([1.5, -3.0]), "b": pa.array([2.0, 9.0], pa.float32())})
WITH_NULLS = pa.record_batch({"a": pa.array([1.5, None]), "b": pa.array([2.0, 9.0], pa.float32())})
LARGE = pa.record_batch({"a": pa.array([1, 2**24 + 1])})
AT = pa.record_batch({"at": pa.array([7, 10**12], pa.timestamp("us", "UTC"))})
PLANS = pa.record_batch({"plan": ["basic", "pro"]})


def one_time(folder: Path) -> Path:
    options = {"times": {"at": "seconds"}, "exact": False}
    return columns_mlp(folder, {"name": "columns", "options": options}, at="timestamp")


def one_category(folder: Path) -> Path:
    options = {"categories": {"plan": {"values": ["basic", "pro"]}}}
    return columns_mlp(folder, {"name": "columns", "options": options}, plan="string")


VECTORS = pa.record_batch({"vector": pa.array([[1.0, 2.0, -3.0, 4.0]], pa.list_(pa.float64()))})
TEXTS = pa.record_batch({"text": ["good day", "bad night the day a good !", "the day"]})
CHANGES: dict[tuple[str, str], tuple[Folder, pa.RecordBatch, Any]] = {
    ("pixels", "scale"): (pixel_mlp, PIXELS, 0.5),
    ("pixels", "mean"): (pixel_mlp, PIXELS, 0.3),
    ("pixels", "std"): (pixel_mlp, PIXELS, [0.25]),
    ("image", "scale"): (image_cnn, image_batch(), 0.5),
    ("image", "mean"): (image_cnn, image_batch(), [0.1, 0.2, 0.3]),
    ("image", "std"): (image_cnn, image_batch(), [0.5, 0.6, 0.7]),
    ("image", "max_pixels"): (image_cnn, image_batch(), 1),
    ("image", "orientation"): (image_cnn, picture_batch(), "stored"),
    ("image", "background"): (image_cnn, picture_batch(), [0, 0, 0]),
    ("vector", "scale"): (vector_mlp, VECTORS, 0.5),
    ("columns", "scale"): (one_table, NUMBERS, 0.5),
    ("columns", "missing"): (one_table, WITH_NULLS, "nan"),
    ("columns", "exact"): (lambda folder: columns_mlp(folder, a="bigint"), LARGE, True),
    ("columns", "times"): (one_time, AT, {"at": "microseconds"}),
    ("columns", "categories"): (one_category, PLANS, {"plan": {"values": ["pro", "basic"]}}),
    ("tokens", "max_tokens"): (one_embedder, TEXTS, 3),
    ("tokens", "prompt"): (one_embedder, TEXTS, "bad "),
    ("classify", "labels"): (one_classifier, TEXTS, ["x", "y"]),
    ("classify", "activation"): (one_classifier, TEXTS, "sigmoid"),
    ("embed", "pooling"): (one_embedder, TEXTS, "first"),
    ("embed", "normalize"): (one_embedder, TEXTS, False),
}
# Of texts that are written: what is set, and what else the card says of prompts and of writing.
WRITTEN: dict[tuple[str, str], tuple[Any, dict[str, Any], dict[str, Any]]] = {
    ("tokens", "truncate"): ("left", {"max_tokens": 8}, {}),
    ("generate", "max_new_tokens"): (3, {}, {}),
    ("generate", "do_sample"): (True, {}, {}),
    ("generate", "temperature"): (3.0, {}, SAMPLED),
    ("generate", "top_k"): (1, {}, SAMPLED),
    ("generate", "top_p"): (0.01, {}, SAMPLED),
    ("generate", "seed"): (9, {}, SAMPLED),
    ("generate", "stop"): (["e"], {}, {}),
    ("generate", "max_rows"): (1, {}, {}),
    ("generate", "cache_mib"): (1, {}, {}),
}
# Of graphs that were made elsewhere, in tests/udfs/backends/test_exported_graph.py and tests/udfs/models/test_file_import.py.
ELSEWHERE = {
    ("classify", "output"),
    ("classify", "tensor"),
    ("values", "tensor"),
    ("columns", "type"),
}
SIZES: dict[tuple[str, str], Any] = {
    ("cnn", "channels"): [3],
    ("cnn", "dense"): 7,
    ("cnn", "classes"): 4,
    ("mlp", "hidden"): [5, 6],
    ("mlp", "outputs"): 2,
    ("lstm", "hidden"): 3,
    ("lstm", "layers"): 2,
    ("lstm", "outputs"): 2,
}


def test_every_option_is_shown_to_change_something_below() -> None:
    shown = CHANGES.keys() | WRITTEN.keys() | ELSEWHERE
    assert options_of(PRE) | options_of(POST) == shown
    assert options_of(NETWORKS) == SIZES.keys()
    assert NETWORKS.keys() == NETWORK_OPTIONS.keys()


def outputs_of(folder: Path, batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """What the folder's model says of each row, and why it says nothing."""
    model = loaded(folder)
    examples = model.decode(batch)
    found = dict(model.predict(examples.values)) if len(examples.rows) else {}
    return [{name: np.asarray(v).tolist() for name, v in found.items()}, dict(examples.errors)]


@pytest.mark.parametrize(("step", "option"), CHANGES, ids=[*map(".".join, CHANGES)])
def test_an_option_changes_what_the_model_says(tmp_path: Path, step: str, option: str) -> None:
    make, batch, value = CHANGES[step, option]
    folder = make(tmp_path / "model")
    before, key = outputs_of(folder, batch), "preprocess" if step in PRE else "postprocess"
    card = card_of(folder)[key]
    assert card["name"] == step

    rewrite(folder, **{key: {"name": step, "options": {**card.get("options", {}), option: value}}})

    assert outputs_of(folder, batch) != before


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return causal_folder(tmp_path_factory.mktemp("writer"), {"max_new_tokens": 24})


@pytest.mark.parametrize(("step", "option"), WRITTEN, ids=[*map(".".join, WRITTEN)])
def test_an_option_changes_what_is_written_or_how_many_rows_are_in_flight(
    writer: Path, step: str, option: str
) -> None:
    value, prompt, written = WRITTEN[step, option]
    changed = {option: value}

    before = written_by(writer, prompt, written)
    after = written_by(
        writer,
        {**prompt, **(changed if step == "tokens" else {})},
        {**written, **(changed if step == "generate" else {})},
    )

    assert after != before


def written_by(folder: Path, prompt: dict[str, Any], written: dict[str, Any]) -> tuple[Any, ...]:
    """Texts, refused prompts, and how many rows the model has in flight at most."""
    causal_card(folder, {"max_new_tokens": 24, **written}, prompt)
    model = CausalModel(folder, read_card(folder), CPU)
    texts = [f"the module number {number} returns a" for number in range(6)] + ["a", "long " * 40]
    examples = model.decode(pa.RecordBatch.from_pydict({"text": texts}))
    found = {name: list(values) for name, values in model.predict(examples.values).items()}
    return found, examples.errors, model._slots(20, 10**6).rows


@pytest.mark.parametrize(("name", "option"), SIZES, ids=[*map(".".join, SIZES)])
def test_a_size_changes_the_network(name: str, option: str) -> None:
    shape = {"cnn": (3, 8, 8), "mlp": (4,), "lstm": (5, 2)}[name]

    def shapes(options: dict[str, Any]) -> dict[str, Any]:
        return {k: tuple(v.shape) for k, v in build(name, shape, options).state_dict().items()}

    assert shapes({}) != shapes({option: SIZES[name, option]})


# what is not known


def steps_with_options() -> list[tuple[str, str]]:
    """Where a card names each step and network, and its name."""
    kinds = (("preprocess", PRE), ("postprocess", POST), ("architecture", NETWORKS))
    return [(key, name) for key, steps in kinds for name in steps]


def refused(folder: Path, key: str, name: str, options: dict[str, Any]) -> str:
    """What `read_card` says of the folder's card with this step."""
    needed = {"max_new_tokens": 8} if name == "generate" else {}
    rewrite(folder, **{key: {"name": name, "options": {**needed, **options}}})
    with pytest.raises(JobFileError) as caught:
        read_card(folder)
    return caught.value.what


@pytest.mark.parametrize(("key", "name"), steps_with_options())
def test_an_unknown_option_is_refused_with_its_line_and_those_that_there_are(
    tmp_path: Path, key: str, name: str
) -> None:
    known = sorted(
        option for step, option in options_of({**PRE, **POST, **NETWORKS}) if step == name
    )

    message = refused(pixel_mlp(tmp_path), key, name, {"zzz": 1})

    allowed = ", ".join(known) or "none"
    assert f"unknown key '{key}.options.zzz' (allowed: {allowed})" in message
    line = next(
        at
        for at, text in enumerate((tmp_path / "model.yaml").read_text().splitlines(), 1)
        if "zzz" in text
    )
    assert f"model.yaml:{line}: unknown" in message


@pytest.mark.parametrize(("name", "option"), sorted(options_of({**PRE, **POST, **NETWORKS})))
def test_a_misspelled_option_is_refused_with_the_nearest_name(
    tmp_path: Path, name: str, option: str
) -> None:
    (key,) = [key for key, step in steps_with_options() if step == name]
    wrong = option[0] + option  # a letter typed twice

    message = refused(pixel_mlp(tmp_path), key, name, {wrong: 1})

    assert f"unknown key '{key}.options.{wrong}'; did you mean '{option}'?" in message


@pytest.mark.parametrize(
    ("key", "wrong", "near"),
    [
        ("preprocess", "pixel", "pixels"),
        ("postprocess", "clasify", "classify"),
        ("architecture", "mpl", "mlp"),
    ],
)
def test_a_misspelled_step_is_refused_with_the_nearest_name(
    tmp_path: Path, key: str, wrong: str, near: str
) -> None:
    message = refused(pixel_mlp(tmp_path), key, wrong, {})

    assert f"{key}.name: unknown value '{wrong}'; did you mean '{near}'? (allowed: " in message


def test_a_card_is_not_written_with_an_option_that_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no model\.yaml can be written") as caught:
        pixel_mlp(tmp_path, postprocess={"name": "classify", "options": {"lables": ["a"]}})

    assert "did you mean 'labels'?" in str(caught.value.got)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"postprocess": {"name": "classify", "options": {"labels": [False, True]}}}, "quotes"),
        ({"postprocess": {"name": "classify", "options": {"labels": [0.5, "a"]}}}, "quotes"),
        ({"preprocess": {"name": "pixels", "options": {"mean": [1, 2, 3]}}}, "has 3 numbers"),
        ({"preprocess": {"name": "pixels", "options": {"std": 0}}}, "greater than 0"),
        ({"preprocess": {"name": "pixels", "options": {"scale": "nan"}}}, "finite number"),
    ],
)
def test_an_option_whose_value_cannot_be_meant_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    folder = pixel_mlp(tmp_path)
    rewrite(folder, **changes)

    with pytest.raises(JobFileError, match=message):
        read_card(folder)


def test_an_option_that_the_rest_of_the_card_makes_meaningless_is_refused(tmp_path: Path) -> None:
    bert = tiny_bert(tmp_path / "bert", "embed")
    rewrite(bert, preprocess={"name": "tokens", "options": {"truncate": "left"}})
    vectors = vector_mlp(tmp_path / "vectors")
    rewrite(vectors, postprocess={"name": "embed", "options": {"pooling": "mean"}})

    with pytest.raises(JobFileError, match="truncate is read only with postprocess generate"):
        read_card(bert)
    with pytest.raises(JobFileError, match="pooling is read only with preprocess tokens"):
        read_card(vectors)


# scaling, in every place where it is done


@pytest.mark.slow
def test_an_image_is_scaled_as_the_card_says_in_a_shipped_and_in_a_converted_graph(
    tmp_path: Path,
) -> None:
    scale, mean, std = 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    folder = image_cnn(tmp_path / "model")
    plain = loaded(folder)
    values = plain.decode(image_batch()).values
    wanted = (
        values.astype(np.float32) * np.float32(scale) - np.reshape(mean, (3, 1, 1))
    ) / np.reshape(std, (3, 1, 1))
    network = plain.runner.graph.network
    with torch.inference_mode():
        logits = network(torch.from_numpy(wanted.astype(np.float32)))
    expected = torch.softmax(logits, 1).numpy()

    step = {"name": "image", "options": {"scale": scale, "mean": list(mean), "std": list(std)}}
    rewrite(folder, preprocess=step)
    found = {"torch": loaded(folder)}
    for target in ("onnx", "openvino", "torchscript"):
        convert(folder, tmp_path / target, target)
        found[target] = LoadedModel(
            tmp_path / target, read_card(tmp_path / target), Runtime("cpu", BACKENDS[target])
        )

    for name, model in found.items():
        given = model.predict(model.decode(image_batch()).values)["probabilities"]
        np.testing.assert_allclose(given, expected, atol=1e-5, err_msg=name)
