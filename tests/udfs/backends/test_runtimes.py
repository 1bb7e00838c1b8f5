from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import loaded, pixel_mlp, vector_mlp

from millrace.schemas.errors import RunFailed
from millrace.schemas.model import ModelCard
from millrace.udfs.backends import hardware
from millrace.udfs.graphs.int8 import Int8Linear
from millrace.udfs.models.model_loading import digest_of, load, read_card, runtimes
from millrace.udfs.runtime.plan import Runtime


@pytest.fixture
def card(tmp_path: Path) -> ModelCard:
    return read_card(pixel_mlp(tmp_path / "card"))


def with_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str) -> None:
    """A machine whose kernel names these features."""
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nflags\t\t: fpu {flags}\n")
    found = hardware.cpu_flags.__wrapped__(cpuinfo)
    monkeypatch.setattr(hardware, "cpu_flags", lambda: found)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("avx2", {"fp32"}),
        ("avx512f avx512_vnni", {"fp32", "int8"}),
        ("avx512f avx512_bf16 avx512_vnni", {"fp32", "bf16", "int8"}),
        ("amx_bf16 amx_tile amx_int8", {"fp32", "bf16", "int8"}),
        ("avx512_fp16", {"fp32", "fp16"}),
    ],
)
def test_a_precision_is_offered_where_the_processor_has_instructions_for_it(
    card: ModelCard,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: str,
    expected: set[str],
) -> None:
    with_flags(tmp_path, monkeypatch, flags)

    found = runtimes(card, "cpu")

    assert found[0] == Runtime("cpu", "torch", "fp32")
    assert {r.precision for r in found if r.backend == "torch"} == expected
    assert {r.precision for r in found if r.backend == "torch_compile"} <= expected - {"int8"}


def test_bf16_that_the_processor_lacks_is_refused_and_fp32_is_not_taken_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pixel_mlp(tmp_path / "model")
    with_flags(tmp_path, monkeypatch, "avx2")

    with pytest.raises(RunFailed, match="in bf16") as caught:
        load(folder, digest_of(folder), Runtime("cpu", "torch", "bf16"))

    assert "torch fp32 on cpu" in str(caught.value.allowed)
    assert "bf16" not in str(caught.value.allowed)


@pytest.mark.parametrize("package", ["onnxruntime", "openvino"])
def test_a_package_that_is_not_installed_is_not_offered(
    card: ModelCard, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    there = hardware.has_package
    monkeypatch.setattr(hardware, "has_package", lambda name: name != package and there(name))
    onnx = card.model_copy(update={"format": "onnx", "architecture": None})

    assert package not in {r.backend for r in runtimes(onnx, "cpu")}


def test_an_onnx_graph_that_cannot_be_looked_through_is_not_run(
    card: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = hardware.has_package
    monkeypatch.setattr(hardware, "has_package", lambda name: name != "onnx" and there(name))

    assert runtimes(card.model_copy(update={"format": "onnx", "architecture": None}), "cpu") == []


def test_torch_compile_is_offered_only_with_a_compiler(
    card: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")

    assert {r.backend for r in runtimes(card, "cpu")} == {"torch"}


def test_threads_are_those_that_the_task_has(tmp_path: Path) -> None:
    folder = pixel_mlp(tmp_path)
    before = torch.get_num_threads()
    try:
        model = load(folder, digest_of(folder), Runtime("cpu", threads=2))
        assert (model.runtime.threads, torch.get_num_threads()) == (2, 2)
        loaded_again = load(folder, digest_of(folder), Runtime("cpu", threads=1))
        assert (loaded_again.runtime.threads, torch.get_num_threads()) == (1, 1)
    finally:
        torch.set_num_threads(before)


def test_int8_rounds_by_row_so_that_a_row_knows_nothing_of_its_neighbours() -> None:
    torch.manual_seed(3)
    linear = torch.nn.Linear(64, 32)
    layer, x = Int8Linear(linear), torch.randn(9, 64) * torch.logspace(-3, 3, 9)[:, None]

    with torch.inference_mode():
        whole, exact = layer(x), linear(x)
        alone = torch.cat([layer(row[None]) for row in x])

    assert torch.equal(whole, alone)
    spread = (exact - linear.bias).abs().amax(dim=1)
    assert ((whole - exact).abs().amax(dim=1) <= 0.02 * spread).all()


def test_int8_of_zeros_is_the_bias() -> None:
    linear = torch.nn.Linear(8, 4)

    with torch.inference_mode():
        found = Int8Linear(linear)(torch.zeros(2, 3, 8))

    assert torch.equal(found, linear.bias.expand(2, 3, 4))


def test_read_only_arrays_are_computed_as_they_are(tmp_path: Path) -> None:
    model = loaded(vector_mlp(tmp_path))
    values = np.random.default_rng(0).standard_normal((5, 4), np.float32)
    expected = model.predict(values.copy())["embedding"]
    values.flags.writeable = False

    found = model.predict(values)["embedding"]

    assert np.array_equal(found, expected)


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="this machine has a card")
def test_the_driver_learns_the_machines_name_without_importing_torch() -> None:
    code = "import sys; from millrace.udfs.calibration.trials import machine; machine('auto'); print('torch' in sys.modules)"
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert process.stdout.strip() == "False"
