"""What docs/REPLAY.md shows is what happens: its jobs run, its rows are replayed, its SQL has the answer."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from millrace.pipelines.console.progress import Progress
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.query.engine import query
from millrace.pipelines.run.replay import replay, request
from millrace.pipelines.run.runner import run
from millrace.schemas.config import Job
from millrace.schemas.yaml_file import load
from tests.docs.test_snippets import ROOT, blocks
from tests.helpers import columns_mlp

TEXT = (ROOT / "docs" / "REPLAY.md").read_text("utf-8")
PAGE = {block.title: block.text for block in blocks(ROOT / "docs" / "REPLAY.md") if block.title}
QUIET = Progress(quiet=True)


def test_every_outcome_of_the_view_is_on_the_page() -> None:
    view = (ROOT / "schemas" / "views" / "replayed.sql").read_text("utf-8")
    possible = re.findall(r"(?:THEN|ELSE) '(.*?)'", view)
    assert set(re.findall(r"^\| `(.*?)` \|", TEXT, re.MULTILINE)) == set(possible)


@pytest.mark.slow
@pytest.mark.spark
def test_the_page_replays_its_readings(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("job.yaml", "readings.csv", "repaired.csv"):
        Path(name).write_text(PAGE[name])
    before, after = "celsius BETWEEN -90 AND 60", "celsius BETWEEN -90 AND 80"
    assert before in PAGE["job.yaml"]
    assert f"`{after}`" in TEXT
    Path("corrected.yaml").write_text(PAGE["job.yaml"].replace(before, after))
    columns_mlp(tmp_path / "model", celsius="double", humidity="double")
    job, corrected = (load(Path(name), Job) for name in ("job.yaml", "corrected.yaml"))

    first = run(spark, job, QUIET)
    second = replay(spark, corrected, request(corrected, first.run_id), QUIET)
    third = replay(spark, job, request(job, first.run_id, "repaired.csv"), QUIET)

    assert [(one.scored, one.quarantined) for one in (first, second, third)] == [
        (1, 3), (1, 2), (1, 0),
    ]  # fmt: skip
    assert (
        "rows of the repaired source left out, whose keys the run did not refuse: 1"
        in third.warnings
    )
    assert "keys that are not in the source, whose rows stay quarantined: 1" in third.warnings
    outcomes = query(LakeLocation(tmp_path / "lake"), PAGE["outcomes.sql"]).to_pylist()
    found = {(row["key"], row["run_id"]): (row["rule"], row["outcome"]) for row in outcomes}
    assert found == {
        ('{"line":3}', second.run_id): ("plausible", "scored"),
        ('{"line":4}', second.run_id): ("record.well_formed", "refused again"),
        ('{"line":5}', second.run_id): ("plausible", "refused again"),
        ('{"line":3}', third.run_id): ("plausible", "left out: scored already"),
        ('{"line":4}', third.run_id): ("record.well_formed", "scored"),
        ('{"line":5}', third.run_id): ("plausible", "not in the source"),
    }
    current = query(
        LakeLocation(tmp_path / "lake"), "SELECT line, sensor FROM readings_current ORDER BY line"
    )
    assert current.to_pylist() == [
        {"line": 2, "sensor": "a"}, {"line": 3, "sensor": "b"}, {"line": 4, "sensor": "c"},
    ]  # fmt: skip
