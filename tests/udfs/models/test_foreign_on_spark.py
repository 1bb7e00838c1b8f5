"""Models of other libraries scored on Spark, each against its own library: `pytest -rP` shows the table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from millrace.pipelines.lake.delta import spark_schema
from millrace.schemas.config import Job
from millrace.schemas.summary import RunSummary
from millrace.udfs.backends.runtimes import runtimes
from millrace.udfs.engine.task_scoring import output_schema
from millrace.udfs.models.file_import import ModelInfo, import_file
from millrace.udfs.models.import_sample import read_sample
from millrace.udfs.models.model_loading import digest_of, read_card
from millrace.udfs.runtime.plan import Plan, Scorer
from millrace.udfs.worker.functions import arrow_scorer
from tests import helpers
from tests.udfs.models.foreign_models import (
    FEATURES,
    ROWS,
    Foreign,
    foreign_models,
    rows,
    sample_csv,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.spark,
    pytest.mark.filterwarnings("ignore:`torch.jit.*:DeprecationWarning"),
]
MAX_DIFFERENCE = 1e-5  # of values up to one; of larger ones, relative to each
WHOLE = ("XGBClassifier", "Pipeline with StandardScaler", "LGBMRegressor")
Imported = dict[tuple[str, str], tuple[Foreign, Path]]


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Imported:
    """Every model with the folder that `millrace model import` makes of its file."""
    tmp = tmp_path_factory.mktemp("foreign")
    made: Imported = {}
    for at, one in enumerate(foreign_models(tmp)):
        sample, folder = tmp / f"{at}.csv", tmp / f"model-{at}"
        expect = sample_csv(one, sample)
        import_file(one.file, folder, read_sample(sample, expect), ModelInfo(), task=one.task)
        made[one.library, one.name] = one, folder
    return made


def write_input(folder: Path) -> None:
    """The rows that the libraries predicted, under a number each."""
    table = pd.DataFrame(rows().astype(np.float64), columns=list(FEATURES))
    helpers.write_parquet(folder, pa.table({"id": range(ROWS), **table.to_dict("list")}))


def difference(found: Sequence[dict[str, Any]], one: Foreign, folder: Path) -> float:
    """The largest to the library's own; labels and errors are compared too."""
    card = read_card(folder)
    assert [row["id"] for row in found] == list(range(ROWS))
    assert all(row["error"] is None for row in found)
    output = next(n for n in ("probabilities", "values", "value") if n in card.signature.outputs)
    scores = np.array([row[output] for row in found], np.float64).reshape(ROWS, -1)
    if output == "probabilities":
        options: Any = card.postprocess.options
        labels = options.labels or range(one.expected.shape[1])
        assert [row["label"] for row in found] == [labels[n] for n in one.expected.argmax(axis=1)]
    assert scores.shape == one.expected.shape
    return float((np.abs(scores - one.expected) / np.maximum(1, np.abs(one.expected))).max())


def test_every_model_gives_on_spark_what_its_library_gives(
    spark: SparkSession, imported: Imported, tmp_path: Path
) -> None:
    write_input(tmp_path)
    source = spark.read.parquet(str(tmp_path))
    application, plan = spark.sparkContext.applicationId, Plan(FEATURES, ("id",), window_rows=50)
    table: dict[tuple[str, str], float] = {}
    for name, (one, folder) in imported.items():
        card = read_card(folder)
        own = runtimes(card, "cpu")[0]
        scorer = Scorer(folder, digest_of(folder), own, plan, application, 0.0)
        schema = output_schema(pa.schema([("id", pa.int64())]), card.signature)
        scored = source.mapInArrow(arrow_scorer(scorer, source.columns), spark_schema(schema))
        found = [row.asDict() for row in scored.orderBy("id").collect()]
        table[name] = difference(found, one, folder)
    for (library, model), gap in table.items():
        print(f"{library:20} {model:34} {gap:.1e} of {ROWS} rows")
    assert len(table) >= 23
    assert max(table.values()) <= MAX_DIFFERENCE


@pytest.mark.parametrize("name", WHOLE)
def test_a_run_writes_what_the_models_library_gives(
    score: Callable[[Job], RunSummary], imported: Imported, tmp_path: Path, name: str
) -> None:
    (one, folder) = next(found for (_, model), found in imported.items() if model == name)
    write_input(tmp_path / "input")
    columns = {"id": {"type": "bigint"}, **{feature: {"type": "double"} for feature in FEATURES}}

    score(helpers.job_of(tmp_path, folder, contract={"columns": columns}))

    found = helpers.rows(tmp_path / "lake", "SELECT * FROM predictions_tiny ORDER BY id")
    assert difference(found, one, folder) <= MAX_DIFFERENCE
