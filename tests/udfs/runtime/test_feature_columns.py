"""Dates, instants and small sets of texts as a model's numbers: as scikit-learn reads them, or refused."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from helpers import columns_mlp, loaded

from millrace.schemas.errors import JobFileError
from millrace.schemas.model import Signature, SignatureColumn
from millrace.schemas.steps import ColumnsOptions
from millrace.udfs.models import model_loading
from millrace.udfs.models.model_folder import write_card
from millrace.udfs.models.model_loading import read_card
from millrace.udfs.runtime.decode import columns
from millrace.udfs.runtime.plan import Runtime
from tests.udfs.models.test_models import rewrite

PLANS = ["basic", "pro", "Größe ✓"]
ROWS = 240


def accounts() -> pd.DataFrame:
    """Accounts with a day, an instant before or after 1970 and a plan, each of which decides something."""
    drawn = np.random.default_rng(3)
    days = drawn.integers(-200_000, 40_000, ROWS)
    micros = drawn.integers(-(10**15), 4 * 10**15, ROWS)
    start = datetime(1970, 1, 1, tzinfo=UTC)
    return pd.DataFrame({
        "signed_on": [date(1970, 1, 1) + timedelta(days=int(day)) for day in days],
        "seen_at": [start + timedelta(microseconds=int(micro)) for micro in micros],
        "plan": drawn.choice(PLANS, ROWS),
        "age": drawn.integers(18, 90, ROWS),
    }, dtype=object).astype({"age": "int32"})  # fmt: skip


def batch_of(frame: pd.DataFrame) -> pa.RecordBatch:
    kinds = {"signed_on": pa.date32(), "seen_at": pa.timestamp("us", "UTC"), "plan": pa.string(),
             "age": pa.int32()}  # fmt: skip
    columns = {name: pa.array(frame[name], kind) for name, kind in kinds.items()}
    return pa.record_batch(columns)


def folder_of(folder: Path, file: bytes, **options: Any) -> Path:
    folder.mkdir()
    (folder / "model.onnx").write_bytes(file)
    step = {
        "type": "double",
        "times": {"signed_on": "days", "seen_at": "seconds"},
        "categories": {"plan": {"values": PLANS}},
    }
    write_card(
        folder,
        name="accounts",
        version="1",
        format="onnx",
        signature={
            "inputs": {
                "signed_on": {"type": "date"},
                "seen_at": {"type": "timestamp"},
                "plan": {"type": "string"},
                "age": {"type": "int"},
            },
            "outputs": {
                "label": {"type": "bigint"},
                "probabilities": {"type": "array<float>", "shape": [2]},
            },
        },
        preprocess={"name": "columns", "options": {**step, **options}},
        postprocess={
            "name": "classify",
            "options": {"output": "probabilities", "tensor": "probabilities"},
        },
        licence="Apache-2.0",
    )
    return folder


def test_a_pipeline_of_scikit_learn_gives_its_own_predictions(tmp_path: Path) -> None:
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import DoubleTensorType
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, OrdinalEncoder

    frame = accounts()
    days = FunctionTransformer(
        lambda x: x.apply(lambda one: one.map(lambda day: (day - date(1970, 1, 1)).days))
    )
    seconds = FunctionTransformer(lambda x: x.apply(lambda one: one.map(datetime.timestamp)))
    encoder = make_column_transformer(
        (days, ["signed_on"]),
        (seconds, ["seen_at"]),
        (OrdinalEncoder(categories=[PLANS]), ["plan"]),
        ("passthrough", ["age"]),
    )
    risky = (
        (frame["signed_on"].map(lambda day: day.year) > 1800)
        ^ (frame["seen_at"].map(lambda at: at.year) > 2010)
        ^ (frame["plan"] == "pro")
    ).astype(int)
    whole = make_pipeline(encoder, RandomForestClassifier(12, random_state=0)).fit(frame, risky)
    forest = whole[-1]
    numbers = DoubleTensorType([None, 4])
    file = to_onnx(forest, initial_types=[("x", numbers)], options={"zipmap": False})

    folder = folder_of(tmp_path / "model", file.SerializeToString())
    model = model_loading.load(
        folder, model_loading.digest_of(folder), Runtime("cpu", "onnxruntime")
    )
    examples = model.decode(batch_of(frame))

    assert examples.errors == {}
    np.testing.assert_array_equal(examples.values, encoder.transform(frame).astype(np.float64))
    found = np.asarray(model.predict(examples.values)["probabilities"])
    np.testing.assert_allclose(found, whole.predict_proba(frame), atol=1e-6)


def table(folder: Path, types: dict[str, str], **options: Any) -> Path:
    return columns_mlp(folder, {"name": "columns", "options": options}, **types)


def read(folder: Path, **cells: pa.Array) -> tuple[list[Any], dict[int, str]]:
    examples = loaded(folder).decode(pa.record_batch(cells))
    return np.asarray(examples.values).ravel().tolist(), dict(examples.errors)


def test_what_is_null_or_unknown_is_an_error_of_its_row_or_as_the_card_declares(
    tmp_path: Path,
) -> None:
    cells = pa.array(["pro", "gold", None, "Pro", "basic", ""])
    vocabulary: dict[str, Any] = {"plan": {"values": PLANS}}
    strict = table(tmp_path / "strict", {"plan": "string"}, categories=vocabulary)
    assert read(strict, plan=cells) == (
        [1.0, 0.0],
        {
            1: "plan: 'gold' is none of its 3 values",
            2: "null, NaN or infinite value",
            3: "plan: 'Pro' is none of its 3 values",
            5: "plan: '' is none of its 3 values",
        },
    )
    vocabulary["plan"]["unknown"] = -1
    mild = table(
        tmp_path / "mild", {"plan": "string"}, categories=vocabulary, missing="nan", exact=True
    )
    found, errors = read(mild, plan=cells)
    assert errors == {}
    np.testing.assert_array_equal(found, [1.0, -1.0, np.nan, -1.0, 0.0, -1.0])


def test_bytes_of_no_text_are_an_unknown_value(tmp_path: Path) -> None:
    broken = pa.array([b"pro", b"\xff\xfe"]).view(pa.string())
    strict = table(tmp_path / "m", {"plan": "string"}, categories={"plan": {"values": PLANS}})
    found, errors = read(strict, plan=broken)
    assert found == [1.0]
    assert "is none of its 3 values" in errors[1]


MICRO = [0, 1, -1, 16_777_216_000_000, 16_777_217_000_000, 1_700_000_000_500_000, 2**53 + 1]


@pytest.mark.parametrize(
    ("options", "values", "errors"),
    [
        (
            {"type": "double", "times": {"at": "microseconds"}, "exact": True},
            [float(one) for one in MICRO[:6]],
            {6: "at: 9007199254740993 is not exact as float64"},
        ),
        (
            {"type": "bigint", "times": {"at": "microseconds"}},
            MICRO,
            {},
        ),
        (
            {"type": "bigint", "times": {"at": "seconds"}},
            [0, 16_777_216, 16_777_217],
            dict.fromkeys((1, 2, 5, 6), "whole second"),
        ),
        (
            {"times": {"at": "seconds"}, "exact": True},
            [0.0, 16_777_216.0],
            dict.fromkeys((1, 2, 4, 5, 6), "not exact as float32"),
        ),
        (
            {"times": {"at": "seconds"}, "exact": False},
            np.array([one / 1e6 for one in MICRO]).astype(np.float32).tolist(),
            {},
        ),
        ({"type": "double", "times": {"at": "seconds"}}, [one / 1e6 for one in MICRO], {}),
    ],
)
def test_an_instant_is_the_declared_number_or_an_error_of_its_row(
    options: dict[str, Any], values: list[float], errors: dict[int, str]
) -> None:
    signature = Signature(
        inputs={"at": SignatureColumn(type="timestamp")}, outputs={"x": SignatureColumn(type="int")}
    )
    decode = columns(signature, ColumnsOptions.model_validate(options))
    examples = decode(pa.record_batch({"at": pa.array(MICRO, pa.timestamp("us", "UTC"))}))
    found = examples.errors
    assert np.asarray(examples.values).ravel().tolist() == values
    assert found.keys() == errors.keys()
    assert all(why in found[row] for row, why in errors.items())


@pytest.mark.parametrize(
    ("types", "options", "message"),
    [
        ({"day": "date"}, {}, r"day is date: say times: \{day: days\}"),
        ({"at": "timestamp"}, {}, r"at is timestamp: say times: \{at: seconds\}"),
        ({"plan": "string"}, {}, r"plan is string: say categories: \{plan: \{values:"),
        ({"day": "date"}, {"times": {"day": "seconds"}}, "day is date, which counts days"),
        ({"at": "timestamp"}, {"times": {"at": "days"}}, "at is timestamp, which counts seconds"),
        ({"at": "timestamp"}, {"times": {"at": "seconds"}}, "say type: double, or exact: true or"),
        ({"x": "float"}, {"times": {"x": "days"}}, "times names x, which is float"),
        ({"x": "float"}, {"times": {"y": "days"}}, "times names y, which is no input"),
        ({"x": "float"}, {"categories": {"x": {"values": ["a"]}}}, "categories names x, which is"),
        ({"p": "string"}, {"categories": {"p": {"values": ["a", "a"]}}}, "twice: a"),
        ({"p": "string"}, {"categories": {"p": {"values": []}}}, "at least 1"),
        ({"p": "string"}, {"categories": {"p": {"values": ["a"], "unkown": 1}}}, "did you mean"),
        ({"day": "date"}, {"times": {"day": "weeks"}}, "allowed: 'days', 'seconds'"),
    ],
)
def test_a_card_that_leaves_open_what_number_a_value_is_is_refused(
    tmp_path: Path, types: dict[str, str], options: dict[str, Any], message: str
) -> None:
    folder = columns_mlp(tmp_path, x="float")
    inputs = {name: {"type": kind} for name, kind in types.items()}
    rewrite(
        folder,
        signature={"inputs": inputs, "outputs": {"value": {"type": "float"}}},
        preprocess={"name": "columns", "options": options},
    )
    with pytest.raises(JobFileError, match=message):
        read_card(folder)
