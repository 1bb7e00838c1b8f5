"""Models of other libraries, imported from a file: what the card says, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from click.testing import CliRunner
from pyarrow import csv

from millrace.pipelines.cli import main
from millrace.schemas.errors import ModelError
from millrace.udfs.backends.runtimes import runtimes
from millrace.udfs.models.file_import import ImportResult, ModelInfo, import_file
from millrace.udfs.models.graph_ending import check_ending
from millrace.udfs.models.import_sample import read_sample
from millrace.udfs.models.model_folder import write_card
from millrace.udfs.models.model_loading import digest_of, load, read_card
from tests.udfs.models.foreign_models import FEATURES, Foreign, foreign_models, rows, sample_csv

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.*:DeprecationWarning")


def imported(
    file: Path, sample: pa.Table, expect: tuple[str, ...] = (), **more: Any
) -> ImportResult:
    """The file as the folder ``model`` beside it."""
    csv.write_csv(sample, file.with_suffix(".csv"))
    rows = read_sample(file.with_suffix(".csv"), expect)
    return import_file(file, file.parent / "model", rows, ModelInfo(), **more)


def graph(file: Path, inputs: dict[str, int], nodes: list[Any], width: int) -> Path:
    """An ONNX file with inputs ``[rows, 1]`` of these element types and one output of floats."""
    from onnx import TensorProto, helper, save

    made = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info(name, kind, [None, 1]) for name, kind in inputs.items()],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [None, width])],
    )
    save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)
    return file


def summing(file: Path, a: int = 1, b: int = 7) -> Path:
    """A graph of two inputs that gives a + 2 b; types are ONNX's numbers."""
    from onnx import helper, numpy_helper

    nodes = [
        helper.make_node("Cast", ["a"], ["a_double"], to=11),
        helper.make_node("Cast", ["b"], ["b_double"], to=11),
        helper.make_node("Constant", [], ["two"], value=numpy_helper.from_array(np.array(2.0))),
        helper.make_node("Mul", ["b_double", "two"], ["twice"]),
        helper.make_node("Add", ["a_double", "twice"], ["sum"]),
        helper.make_node("Cast", ["sum"], ["out"], to=1),
    ]
    return graph(file, {"a": a, "b": b}, nodes, 1)


def test_one_input_a_column_of_several_types_is_read_by_name(tmp_path: Path) -> None:
    sample = pa.table({"b": [3, 2**25 + 2, 5], "a": [0.5, 1.0, -2.0], "y": [6.5, 67108869.0, 8.0]})

    found = imported(summing(tmp_path / "sum.onnx"), sample, ("y",))

    options = found.card.preprocess.options
    assert options.type == "double"  # type: ignore[union-attr]
    assert list(found.card.signature.inputs) == ["b", "a"]
    assert found.card.checks[0].rows == 3
    assert found.notes == ("the sample has no null: a null is an error of its row",)


def test_predictions_that_differ_are_refused_with_their_share_or_noted(tmp_path: Path) -> None:
    sample = pa.table({"b": [3, 1, 5, 7], "a": [0.5, 1.0, -2.0, 0.0], "y": [6.5, 3.0, 8.0, 99.0]})
    file = summing(tmp_path / "sum.onnx")

    with pytest.raises(ModelError, match=r"does not give the predictions") as caught:
        imported(file, sample, ("y",))

    assert str(caught.value.got).startswith("25.0% of 4 rows differ")
    assert not (tmp_path / "model").exists()
    notes = imported(file, sample, ("y",), max_differing=0.25).notes
    assert any(note.startswith("25.0% of the rows differ") for note in notes)


def test_a_null_is_read_as_nan_only_where_the_sample_shows_that_it_is_right(tmp_path: Path) -> None:
    from onnx import helper, numpy_helper

    zero = numpy_helper.from_array(np.array(0.0, np.float32))
    nodes = [
        helper.make_node("Constant", [], ["zero"], value=zero),
        helper.make_node("IsNaN", ["a"], ["gone"]),
        helper.make_node("Where", ["gone", "zero", "a"], ["out"]),
    ]
    file = graph(tmp_path / "nan.onnx", {"a": 1}, nodes, 1)
    right = pa.table({"a": [1.5, None, 2.5], "y": [1.5, 0.0, 2.5]})
    wrong = pa.table({"a": [1.5, None, 2.5], "y": [1.5, 7.0, 2.5]})

    with pytest.raises(ModelError, match="does not give the predictions"):
        imported(file, wrong, ("y",))
    card = imported(file, right, ("y",)).card

    assert card.preprocess.options.missing == "nan"  # type: ignore[union-attr]
    assert read_card(tmp_path / "model") == card


def test_whole_numbers_that_float32_cannot_hold_are_refused_at_import(tmp_path: Path) -> None:
    from onnx import helper

    file = graph(tmp_path / "id.onnx", {"a": 1}, [helper.make_node("Identity", ["a"], ["out"])], 1)
    sample = pa.table({"a": [1, 2**24 + 1], "y": [1.0, 2.0**24 + 1]})

    with pytest.raises(ModelError, match="cannot read rows of the sample") as caught:
        imported(file, sample, ("y",))

    assert "1 of 2 rows; row 2: a: 16777217 is not exact as float32" in str(caught.value.got)


def test_text_inputs_and_another_number_of_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="'b' is not numeric"):
        imported(summing(tmp_path / "text.onnx", b=8), pa.table({"a": [1.0], "b": [2.0]}))
    with pytest.raises(ModelError, match="another number of columns"):
        imported(summing(tmp_path / "sum.onnx"), pa.table({"a": [1.0], "b": [2], "c": [3.0]}))
    with pytest.raises(ModelError, match="column 'b' is not numeric"):
        imported(summing(tmp_path / "sum.onnx"), pa.table({"a": [1.0], "b": ["x"]}))
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    with pytest.raises(ModelError, match="is not an ONNX graph"):
        imported(tmp_path / "broken.onnx", pa.table({"a": [1.0]}))


def forest(file: Path) -> pa.Table:
    """A forest that regresses a share between 0 and 1, and rows with what its library predicts."""
    from skl2onnx import to_onnx
    from sklearn.ensemble import RandomForestRegressor

    drawn = np.random.default_rng(5)
    features = drawn.standard_normal((80, 2)).astype(np.float32)
    fitted = RandomForestRegressor(5, random_state=0).fit(features, drawn.uniform(0.1, 0.9, 80))
    file.write_bytes(to_onnx(fitted, features[:1]).SerializeToString())
    rows = dict(zip("ab", features.astype(np.float64).T, strict=True))
    return pa.table(rows | {"y": fitted.predict(features)})


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("pro", "type: string in signature.inputs and categories: {b: {values: [...]}}"),
        ("2024-01-02", "type: date in signature.inputs and times: {b: days}"),
        ("2024-01-02 03:04:05", "type: timestamp in signature.inputs and times: {b: seconds}"),
    ],
)
def test_a_sample_of_dates_or_texts_is_refused_with_how_to_declare_them(
    tmp_path: Path, cell: str, message: str
) -> None:
    (tmp_path / "rows.csv").write_text(f"a,b\n1,{cell}\n")
    with pytest.raises(ModelError, match="'b' is not numeric") as caught:
        read_sample(tmp_path / "rows.csv", ())
    assert message in str(caught.value.next)


def test_a_regression_of_shares_is_no_classifier(tmp_path: Path) -> None:
    sample = forest(tmp_path / "share.onnx")

    found = imported(tmp_path / "share.onnx", sample, ("y",)).card

    assert (found.postprocess.name, list(found.signature.outputs)) == ("values", ["value"])


def test_one_number_of_trees_is_a_probability_only_where_predictions_show_it(
    tmp_path: Path,
) -> None:
    sample = forest(tmp_path / "share.onnx")

    with pytest.raises(ModelError, match="either a probability or a logit"):
        imported(tmp_path / "share.onnx", sample.drop_columns("y"), task="classify")
    card = imported(tmp_path / "share.onnx", sample, ("y",), task="classify").card
    step = card.postprocess.model_dump(mode="json")
    step["options"]["output"] = "logits"
    about = card.model_dump(mode="json", exclude_defaults=True, exclude={"files", "checks"})
    check_ending(
        tmp_path / "model", write_card(tmp_path / "model", **about | {"postprocess": step})
    )

    assert card.postprocess.options.output == "probabilities"  # type: ignore[union-attr]


class Categories(torch.nn.Module):
    """A classifier that looks a category up, of two there are."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[rows, 1]`` probabilities."""
        return torch.sigmoid(self.table(x[:, 0].long()).sum(dim=1, keepdim=True) * x[:, 1:])


def test_whole_numbers_are_tried_as_categories(tmp_path: Path) -> None:
    sample = pa.table({"kind": [0, 1, 1], "size": [0.5, -1.0, 2.0]})
    rows = torch.tensor(sample.to_pandas().to_numpy(np.float32))
    with torch.no_grad():
        torch.jit.save(torch.jit.trace(Categories(), rows), str(tmp_path / "kinds.ts"))

    card = imported(tmp_path / "kinds.ts", sample).card

    assert card.postprocess.options.output == "probabilities"  # type: ignore[union-attr]


def test_a_graph_that_scikit_learn_exports_from_doubles_is_refused_with_how_to_export_it(
    tmp_path: Path,
) -> None:
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression

    x = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0], [3.0, 5.0]])
    model = LogisticRegression().fit(x, [0, 0, 1, 1])
    sample = pa.table({"a": x[:, 0], "b": x[:, 1], "y": model.predict_proba(x)[:, 1]})
    (tmp_path / "m.onnx").write_bytes(to_onnx(model, x[:1]).SerializeToString())

    with pytest.raises(ModelError, match=r"cannot be loaded") as caught:
        imported(tmp_path / "m.onnx", sample, ("y",))

    assert 'astype("float32")' in str(caught.value.next)
    assert caught.value.what.startswith(
        f"{tmp_path / 'm.onnx'} "
    )  # and not the folder that is made
    (tmp_path / "m.onnx").write_bytes(to_onnx(model, x[:1].astype("float32")).SerializeToString())
    assert imported(tmp_path / "m.onnx", sample, ("y",)).card.checks[0].largest_difference < 1e-6


def test_the_command_imports_a_file_and_says_what_was_checked(tmp_path: Path) -> None:
    file = summing(tmp_path / "sum.onnx")
    (tmp_path / "rows.csv").write_text("a,b,y\n0.5,3,6.5\n1.0,1,3.0\n")
    sample = ["--sample", str(tmp_path / "rows.csv"), "--expect", "y"]

    found = CliRunner().invoke(
        main, ["model", "import", str(file), *sample, "--out", str(tmp_path / "m")]
    )

    assert found.exit_code == 0, found.output
    assert "reads     a (double), b (bigint)" in found.output
    assert "values against predictions in rows.csv as given on 2 rows" in found.output
    for wrong, message in (
        (["--expect", "z"], "has no column z"),
        ([], "does not say which columns it reads"),
        ([], "docs/PICTURES.md"),
    ):
        arguments = [
            str(file),
            *(sample[:2] if wrong else []),
            *wrong,
            "--out",
            str(tmp_path / "n"),
        ]
        refused = CliRunner().invoke(main, ["model", "import", *arguments])
        assert refused.exit_code == 2
        assert message in refused.output


@pytest.mark.parametrize(("name", "more"), [("m.onnx", []), ("m.ts", ["--trust", "code"])])
def test_a_text_in_a_models_place_is_named_as_it_was_given_and_has_a_next_step(
    name: str, more: list[str], tmp_path: Path
) -> None:
    fake = tmp_path / name
    fake.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    (tmp_path / "rows.csv").write_text("a\n0.5\n")
    words = ["model", "import", str(fake), "--sample", str(tmp_path / "rows.csv"), *more]

    found = CliRunner().invoke(main, [*words, "--out", str(tmp_path / "made")])

    assert found.exit_code == 2
    assert f"error {fake} " in found.output
    assert str(tmp_path / ".made") not in found.output
    assert "again" in found.output.partition("next:")[2]
    assert not list(tmp_path.glob(".made*"))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Foreign]:
    return foreign_models(tmp_path_factory.mktemp("foreign"))


@pytest.mark.slow
def test_every_model_gives_its_librarys_predictions(models: list[Foreign], tmp_path: Path) -> None:
    batch = pa.record_batch(
        {name: rows()[:, at].astype(np.float64) for at, name in enumerate(FEATURES)}
    )
    table = []
    for at, one in enumerate(models):
        expect = sample_csv(one, tmp_path / f"{at}.csv")
        out = tmp_path / f"model-{at}"
        sample = read_sample(tmp_path / f"{at}.csv", expect)
        card = import_file(one.file, out, sample, ModelInfo(), task=one.task).card
        model = load(out, digest_of(out), runtimes(card, "cpu")[0])
        found = model.predict(model.decode(batch).values)
        scores: Any = found["probabilities" if card.postprocess.name == "classify" else "values"]
        gap = np.abs(scores - one.expected) / np.maximum(1, np.abs(one.expected))
        table.append((one.library, one.name, card.postprocess.name, float(gap.max()), len(gap)))
        assert card.checks[0].largest_difference <= 1e-4
    for library, name, step, gap, count in table:
        print(f"{library:20} {name:34} {step:9} {gap:.1e} of {count} rows")
    assert len(table) >= 20
    assert max(row[3] for row in table) <= 1e-4
