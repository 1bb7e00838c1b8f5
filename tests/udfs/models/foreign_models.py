"""Small models of other libraries, each as a file and with its library's own predictions for some rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

FEATURES = ("a", "b", "c", "d")
ROWS = 120


@dataclass(frozen=True)
class Foreign:
    """A model's file, and what its library says of `rows()`: probabilities or values, ``[rows, n]``."""

    library: str
    name: str
    file: Path
    expected: NDArray[np.float64]
    task: str | None = None


def rows() -> NDArray[np.float32]:
    return np.random.default_rng(5).normal(size=(ROWS, len(FEATURES))).astype(np.float32)


def _targets(x: NDArray[Any]) -> dict[str, NDArray[Any]]:
    score = x[:, 0] - 2 * x[:, 1] * x[:, 2]
    return {
        "binary": (score > 0).astype(int),
        "three": np.digitize(score, [-0.7, 0.7]) * 3 + 1,
        "value": 10 * score,
        "several": np.stack([score > 0, x[:, 3] > 0, x[:, 0] > 0.5], axis=1).astype(int),
    }


def sklearn_models() -> Iterator[tuple[str, Any, str]]:
    """Name, estimator, and the target that it learns."""
    from sklearn import ensemble, linear_model, neural_network, pipeline, preprocessing, svm, tree

    yield "LogisticRegression, 2 classes", linear_model.LogisticRegression(), "binary"
    yield "LogisticRegression, 3 classes", linear_model.LogisticRegression(), "three"
    yield (
        "DecisionTreeClassifier",
        tree.DecisionTreeClassifier(max_depth=4, random_state=0),
        "three",
    )
    yield "RandomForestClassifier", ensemble.RandomForestClassifier(10, random_state=0), "three"
    yield (
        "GradientBoostingClassifier",
        ensemble.GradientBoostingClassifier(n_estimators=10),
        "binary",
    )
    yield (
        "ExtraTreesClassifier",
        ensemble.ExtraTreesClassifier(10, random_state=0),
        "three",
    )
    scaled = pipeline.make_pipeline(
        preprocessing.StandardScaler(), linear_model.LogisticRegression()
    )
    yield "Pipeline with StandardScaler", scaled, "three"
    yield "SVC with probabilities", svm.SVC(probability=True, random_state=0), "three"
    yield "MLPClassifier", neural_network.MLPClassifier((8,), max_iter=50, random_state=0), "three"
    yield (
        "MLPClassifier, 3 labels a row",
        neural_network.MLPClassifier((8,), max_iter=50),
        "several",
    )
    yield "LinearRegression", linear_model.LinearRegression(), "value"
    yield "RandomForestRegressor", ensemble.RandomForestRegressor(10, random_state=0), "value"
    yield (
        "GradientBoostingRegressor",
        ensemble.GradientBoostingRegressor(n_estimators=10),
        "value",
    )


def _predicted(model: Any, x: NDArray[Any]) -> NDArray[np.float64]:
    found = model.predict_proba(x) if hasattr(model, "predict_proba") else model.predict(x)
    return np.asarray(found, np.float64).reshape(len(x), -1)


def _sklearn(folder: Path) -> Iterator[Foreign]:
    from skl2onnx import to_onnx

    x = rows()
    for at, (name, model, target) in enumerate(sklearn_models()):
        model.fit(x, _targets(x)[target])
        file = folder / f"sklearn-{at}.onnx"
        file.write_bytes(to_onnx(model, x[:1]).SerializeToString())
        yield Foreign("scikit-learn", name, file, _predicted(model, x))


def _boosted(folder: Path) -> Iterator[Foreign]:
    import lightgbm
    import xgboost
    from onnxmltools import convert_lightgbm, convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType

    x = rows()
    kinds = [("input", FloatTensorType([None, len(FEATURES)]))]
    made: list[tuple[str, str, Callable[..., Any], Any, str]] = [
        ("XGBoost", "XGBClassifier", convert_xgboost, xgboost.XGBClassifier(n_estimators=10), "binary"),
        ("XGBoost", "XGBRegressor", convert_xgboost, xgboost.XGBRegressor(n_estimators=10), "value"),
        ("LightGBM", "LGBMClassifier", convert_lightgbm, lightgbm.LGBMClassifier(n_estimators=10, verbose=-1), "three"),
        ("LightGBM", "LGBMRegressor", convert_lightgbm, lightgbm.LGBMRegressor(n_estimators=10, verbose=-1), "value"),
    ]  # fmt: skip
    for library, name, convert, model, target in made:
        model.fit(x, _targets(x)[target])
        file = folder / f"{name}.onnx"
        file.write_bytes(convert(model, initial_types=kinds).SerializeToString())
        yield Foreign(library, name, file, _predicted(model, x))


def _torch(folder: Path) -> Iterator[Foreign]:
    import torch

    torch.manual_seed(2)
    x = torch.from_numpy(rows())
    ends = {
        "logits": (3, torch.nn.Identity(), lambda y: torch.softmax(y, 1)),
        "softmax": (3, torch.nn.Softmax(dim=1), lambda y: y),
        "one sigmoid": (1, torch.nn.Sigmoid(), lambda y: torch.cat([1 - y, y], 1)),
    }
    for end, (width, last, finish) in ends.items():
        network = torch.nn.Sequential(
            torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, width), last
        ).eval()
        with torch.no_grad():
            wanted = finish(network(x)).double().numpy()  # type: ignore[no-untyped-call]
        task = "classify" if end == "logits" else None
        file = folder / f"torch-{end.split()[-1]}.onnx"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rows_vary = {0: torch.export.Dim.DYNAMIC}
            program = torch.export.export(network, (x[:2],), dynamic_shapes=(rows_vary,))
            torch.onnx.export(program, dynamo=True, verbose=False).save(file)  # type: ignore[union-attr]
            script = file.with_suffix(".ts")
            torch.jit.save(torch.jit.trace(network, x[:2]), str(script))
        yield Foreign("torch, ONNX", end, file, wanted, task)
        yield Foreign("torch, TorchScript", end, script, wanted, task)


def foreign_models(folder: Path) -> list[Foreign]:
    """All of them; the warnings are the libraries' own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [*_sklearn(folder), *_boosted(folder), *_torch(folder)]


def sample_csv(model: Foreign, path: Path) -> tuple[str, ...]:
    """Write the rows and the library's predictions as a CSV; the predictions' columns."""
    expect = tuple(f"expected_{at}" for at in range(model.expected.shape[1]))
    table = pd.DataFrame(rows(), columns=list(FEATURES))
    table[list(expect)] = model.expected
    table.to_csv(path, index=False)
    return expect
