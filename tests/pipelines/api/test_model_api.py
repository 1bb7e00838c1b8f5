"""Model folders made from Python: the same folder as the command makes, and options that do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import millrace
from millrace.pipelines.cli import main
from millrace.schemas.errors import UsageError
from tests.helpers import pixel_mlp


def doubling(file: Path) -> Path:
    """A graph of one input x that gives 2 x."""
    import onnx
    from onnx import helper, numpy_helper

    nodes = [
        helper.make_node("Constant", [], ["two"], value=numpy_helper.from_array(np.float32(2))),
        helper.make_node("Mul", ["x", "two"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, 1, ["n", 1]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "doubling", ends[:1], ends[1:])
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), file)
    return file


def test_a_file_is_imported_as_the_command_imports_it(tmp_path: Path) -> None:
    file, rows = doubling(tmp_path / "m.onnx"), tmp_path / "rows.csv"
    rows.write_text("x,y\n0.5,1\n1.0,2\n")

    found = millrace.import_model(
        file, tmp_path / "a", sample=rows, expect=["y"], name="doubling", max_differing=0.0
    )
    words = ["--sample", str(rows), "--expect", "y", "--name", "doubling"]
    done = CliRunner().invoke(
        main, ["model", "import", str(file), *words, "--out", str(tmp_path / "b")]
    )

    assert done.exit_code == 0, done.output
    assert found.card.checks[0].rows == 2
    for name in ("model.yaml", "model.onnx"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_an_option_of_another_kind_of_source_is_refused_and_not_dropped(tmp_path: Path) -> None:
    file, rows = doubling(tmp_path / "m.onnx"), tmp_path / "rows.csv"
    rows.write_text("x\n0.5\n")
    with pytest.raises(UsageError, match="a file is imported without max_tokens"):
        millrace.import_model(file, tmp_path / "a", sample=rows, max_tokens=8)
    with pytest.raises(UsageError, match="a file is imported without lables"):
        millrace.import_model(file, tmp_path / "a", sample=rows, lables=["no", "yes"])
    with pytest.raises(UsageError, match="a folder is imported without sample"):
        millrace.import_model(tmp_path, tmp_path / "a", text="t", sample=rows)
    done = CliRunner().invoke(
        main, ["model", "import", str(file), "--text", "t", "--sample", str(rows), "--out", "a"]
    )
    assert done.exit_code == 2
    assert "a file is imported without text" in done.output
    assert not (tmp_path / "a").exists()


def test_a_folder_is_sealed_after_a_change(tmp_path: Path) -> None:
    folder = pixel_mlp(tmp_path / "model")
    (folder / "NOTES.txt").write_text("a change that is meant")
    sealed = millrace.seal_model(folder)
    assert (sealed.changed, sealed.added, sealed.removed) == ((), ("NOTES.txt",), ())
    assert millrace.seal_model(folder).added == ()


@pytest.mark.slow
def test_a_folder_is_converted_and_compared(tmp_path: Path) -> None:
    card = millrace.convert_model(pixel_mlp(tmp_path / "model"), tmp_path / "out", "onnx")
    assert card.format == "onnx"
    assert (tmp_path / "out" / "model.yaml").is_file()
