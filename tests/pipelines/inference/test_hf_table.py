"""Hugging Face folders scored on Spark, each against its own library: `pytest -rP` shows the table."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from millrace.pipelines.lake.delta import spark_schema
from millrace.udfs.engine.task_scoring import output_schema
from millrace.udfs.models.huggingface_import import adopt
from millrace.udfs.models.model_loading import digest_of, read_card
from millrace.udfs.runtime.plan import Plan, Runtime, Scorer
from millrace.udfs.worker.functions import arrow_scorer
from tests import hf_models
from tests.udfs.models.test_reference_library import TEXTS, by_pipeline, by_sentences

MAX_DIFFERENCE = 1e-5  # of values up to one; of larger ones, relative to the largest
ROWS = 48  # each text several times, so that batches mix lengths
PROMPT = {"prompts": {"query": "which passage: "}, "default_prompt_name": "query"}
CASED = {"tokenizer_class": "BertTokenizer", "do_lower_case": False}
Make = Callable[[Path], Path]


def cased_over_lower(folder: Path) -> Path:
    hf_models.bert(folder, tokenizer={"lowercase": True})
    hf_models.change(folder / "tokenizer_config.json", **CASED)
    return folder


def other_pad(folder: Path) -> Path:
    hf_models.gpt2(folder)
    hf_models.change(folder / "config.json", pad_token_id=5)
    return folder


def without_length(folder: Path) -> Path:
    hf_models.bert(folder, max_position_embeddings=1024)
    hf_models.change(folder / "tokenizer_config.json", model_max_length=None)
    return folder


def kind(problem: str, labels: int) -> Make:
    return partial(hf_models.bert, problem_type=problem, num_labels=labels)


MODELS: dict[str, tuple[Make, int]] = {
    "BERT classification": (hf_models.bert, 64),
    "BERT, cased over a lower-casing file": (cased_over_lower, 64),
    "BERT, 1,024 positions": (without_length, 1024),
    "RoBERTa classification": (hf_models.roberta, 64),
    "DistilBERT classification": (hf_models.distilbert, 64),
    "GPT-2 classification, no pad token": (hf_models.gpt2, 64),
    "GPT-2 classification, pad id 5 in config.json": (other_pad, 64),
    "regression": (kind("regression", 1), 64),
    "regression of three": (kind("regression", 3), 64),
    "multi-label": (kind("multi_label_classification", 5), 64),
    "sentences, mean": (hf_models.sentences, 0),
    "sentences, first, of length one": (
        lambda folder: hf_models.sentences(folder, "Normalize", pooling="cls"),
        0,
    ),
    "sentences, lower case": (partial(hf_models.sentences, do_lower_case=True), 0),
    "sentences, default prompt": (partial(hf_models.sentences, prompts=PROMPT), 0),
    "sentences, 1,024 positions": (
        partial(hf_models.sentences, bert={"max_position_embeddings": 1024}, max_seq_length=1024),
        0,
    ),
}


def on_spark(spark: SparkSession, folder: Path, texts: Path) -> list[Any]:
    """The rows that a stage of Spark's gives, in their order."""
    plan = Plan(("text",), ("id",), window_rows=16)
    application = spark.sparkContext.applicationId
    scorer = Scorer(folder, digest_of(folder), Runtime("cpu"), plan, application, 0.0)
    schema = output_schema(pa.schema([("id", pa.int64())]), read_card(folder).signature)
    rows = spark.read.parquet(str(texts)).repartition(2)
    made = rows.mapInArrow(arrow_scorer(scorer, rows.columns), spark_schema(schema))
    return sorted(made.collect(), key=lambda row: row["id"])


def numbers(found: list[Any]) -> tuple[NDArray[Any], str]:
    """What is compared of each row, and the output's name."""
    names = found[0].asDict()
    for name in ("embedding", "probabilities", "values", "value"):
        if name in names:
            return np.array([row[name] for row in found]).reshape(len(found), -1), name
    return np.array([[row["score"]] for row in found]), "score"


@pytest.mark.slow
@pytest.mark.spark
@pytest.mark.parametrize("name", MODELS)
def test_a_folder_gives_on_spark_what_its_library_gives(
    spark: SparkSession, tmp_path: Path, name: str
) -> None:
    make, longest = MODELS[name]
    texts = [TEXTS[n % len(TEXTS)] for n in range(ROWS)]
    pq.write_table(pa.table({"id": range(ROWS), "text": texts}), tmp_path / "texts.parquet")
    source, folder = tmp_path / "source", tmp_path / "model"
    make(source)
    adopt(source, folder, "text", licence="mit")

    found = on_spark(spark, folder, tmp_path / "texts.parquet")

    wanted, labels = by_pipeline(source, longest) if longest else (by_sentences(source), [])
    wanted = np.array([wanted[n % len(TEXTS)] for n in range(ROWS)])
    values, output = numbers(found)
    if output == "score":
        assert [row["label"] for row in found] == [labels[n] for n in wanted.argmax(axis=1)]
        wanted = wanted.max(axis=1, keepdims=True)
    assert all(row["error"] is None for row in found)
    difference = float(np.abs(values - wanted).max() / max(1.0, np.abs(wanted).max()))
    print(f"{name:<48} {difference:.1e}")
    assert difference < MAX_DIFFERENCE
