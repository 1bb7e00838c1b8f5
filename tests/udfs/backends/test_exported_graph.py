"""Classifiers that another library made: their scores are the library's, whatever their graph ends in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from helpers import CLASSES, SIDE, images, job_of, loaded, pixel_mlp
from numpy.typing import NDArray

from millrace.pipelines.job.model_check import verified_model
from millrace.schemas.config import Job
from millrace.schemas.errors import ModelError, OutputMismatch
from millrace.udfs.backends.exported_graph import _checked
from millrace.udfs.models.model_folder import write_card

ENDINGS = ("logits", "probabilities")
PIXELS = pa.record_batch({"pixels": pa.array(images(50))})


def script(
    folder: Path,
    ending: str,
    declared: str | None,
    width: int = CLASSES,
    *,
    weight: float = 0.02,
    bias: float | None = None,
) -> Path:
    """A TorchScript classifier of ``width`` outputs that ends as ``ending`` says, and its card."""
    torch.manual_seed(3)
    last: dict[tuple[str, bool], torch.nn.Module] = {
        ("logits", False): torch.nn.Identity(), ("logits", True): torch.nn.Identity(),
        ("probabilities", False): torch.nn.Softmax(dim=1), ("probabilities", True): torch.nn.Sigmoid(),
    }  # fmt: skip
    network = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(SIDE * SIDE, width), last[ending, width == 1]
    ).eval()
    with torch.no_grad():
        network[1].weight.mul_(weight)  # pixels are large
        if bias is not None:
            network[1].bias.fill_(bias)
    folder.mkdir()
    with torch.no_grad(), pytest.warns(DeprecationWarning, match="torch.jit"):
        torch.jit.save(torch.jit.trace(network, torch.rand(2, SIDE, SIDE)), str(folder / "m.ts"))
    classes = max(2, width)
    write_card(
        folder, name="script", version="1", format="torchscript", licence="MIT",
        signature={"inputs": {"pixels": {"type": "binary", "shape": [SIDE, SIDE]}},
                   "outputs": {"label": {"type": "bigint"}, "score": {"type": "float"},
                               "probabilities": {"type": "array<float>", "shape": [classes]}}},
        preprocess={"name": "pixels"},
        postprocess={"name": "classify", "options": {"output": declared} if declared else {}},
    )  # fmt: skip
    return folder


def trusting(tmp: Path, folder: Path) -> Job:
    """A job that trusts the folder's code."""
    job = job_of(tmp, folder)
    return job.model_copy(update={"model": job.model.model_copy(update={"trust": "code"})})


def expected(folder: Path, ending: str) -> NDArray[Any]:
    """The probabilities by plain torch."""
    network = torch.jit.load(str(folder / "m.ts"))
    rows = np.stack([np.frombuffer(one, np.uint8) for one in images(50)]).astype(np.float32)
    with torch.inference_mode():
        found = network(torch.from_numpy(rows).reshape(-1, SIDE, SIDE))
        if ending == "logits":
            found = torch.sigmoid(found) if found.shape[1] == 1 else torch.softmax(found, 1)
    if found.shape[1] == 1:
        found = torch.cat([1 - found, found], 1)
    return found.numpy()


@pytest.mark.filterwarnings("ignore:`torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize("width", [1, CLASSES])
@pytest.mark.parametrize("ending", ENDINGS)
def test_probabilities_are_the_librarys_whatever_the_graph_ends_in(
    tmp_path: Path, ending: str, width: int
) -> None:
    folder = script(tmp_path / "model", ending, ending, width)
    model = loaded(folder)

    found = model.predict(model.decode(PIXELS).values)

    wanted = expected(folder, ending)
    np.testing.assert_allclose(found["probabilities"], wanted, atol=1e-6)
    assert list(found["label"]) == list(wanted.argmax(axis=1))
    verified_model(trusting(tmp_path, folder))


@pytest.mark.filterwarnings("ignore:`torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize("width", [1, CLASSES])
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_card_that_says_the_other_ending_is_refused_at_preflight(
    tmp_path: Path, ending: str, width: int
) -> None:
    (other,) = set(ENDINGS) - {ending}
    folder = script(tmp_path / "model", ending, other, width)

    with pytest.raises(ModelError, match=f"does not end in {other}") as caught:
        verified_model(trusting(tmp_path, folder))

    assert caught.value.exit_code == 2
    assert f"output: {ending}" in str(caught.value.next)


@pytest.mark.filterwarnings("ignore:`torch.jit.*:DeprecationWarning")
def test_one_logit_that_is_small_on_every_tried_row_is_no_probability(tmp_path: Path) -> None:
    folder = script(tmp_path / "model", "logits", "logits", 1, weight=1e-5, bias=0.4)
    model = loaded(folder)

    found = model.predict(model.decode(PIXELS).values)

    np.testing.assert_allclose(found["probabilities"], expected(folder, "logits"), atol=1e-6)
    verified_model(trusting(tmp_path, folder))


@pytest.mark.filterwarnings("ignore:`torch.jit.*:DeprecationWarning")
def test_a_foreign_classifier_must_say_what_its_graph_ends_in(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        script(tmp_path / "model", "logits", None)

    assert "allowed: logits, probabilities" in str(caught.value.got)


def test_a_shipped_network_does_not_say_what_it_ends_in(tmp_path: Path) -> None:
    step = {"name": "classify", "options": {"output": "probabilities"}}

    with pytest.raises(ModelError) as caught:
        pixel_mlp(tmp_path, postprocess=step)

    assert "this one's end is known" in str(caught.value.got)


def test_a_row_that_is_no_probability_fails_while_it_is_scored() -> None:
    rows = np.array([[0.5, 0.5], [0.2, 3.0]], np.float32)

    with pytest.raises(OutputMismatch, match="a row is none") as caught:
        _checked(rows)

    assert caught.value.got == "0.2, 3"
    assert _checked(np.array([[np.nan, 1.0], [0.25, 0.75]], np.float32)).shape == (2, 2)


def test_more_or_fewer_labels_than_classes_are_refused(tmp_path: Path) -> None:
    for labels in (["a", "b"], ["a", "b", "c", "d"]):
        folder = pixel_mlp(
            tmp_path / str(len(labels)),
            outputs={"label": {"type": "string"}},
            postprocess={"name": "classify", "options": {"labels": labels}},
        )
        model = loaded(folder)

        with pytest.raises(OutputMismatch, match="another number of classes"):
            model.predict(model.decode(PIXELS).values)


def test_one_logit_of_a_shipped_network_is_that_of_the_second_class(tmp_path: Path) -> None:
    folder = pixel_mlp(
        tmp_path,
        options={"hidden": [8], "outputs": 1},
        outputs={"label": {"type": "bigint"}, "score": {"type": "float"}},
        postprocess={"name": "classify"},
    )
    model = loaded(folder)
    values = model.decode(PIXELS).values

    found = model.predict(values)["probabilities"]

    with torch.inference_mode():
        x = torch.from_numpy(np.asarray(values, np.float32)) / 255
        wanted = torch.sigmoid(model.runner.graph.network(x)).numpy()  # type: ignore[attr-defined]
    np.testing.assert_allclose(found[:, 1:], wanted, atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
