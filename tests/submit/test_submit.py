"""spark-submit, for real, from an environment that has Millrace's dependencies and not Millrace."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.query.engine import query
from tests.submitted import ROOT, submit

JOB = ROOT / "conf" / "jobs" / "digits.yaml"

pytestmark = [pytest.mark.spark, pytest.mark.slow, pytest.mark.timeout(600)]


def of_digits(digits: Path, lake: Path) -> dict[str, object]:
    return {
        "source.path": digits / "input",
        "model.uri": digits / "model",
        "output.path": lake,
        "cost.prices": ROOT / "conf" / "prices" / "example.yaml",
    }


@pytest.mark.parametrize(
    "master", ["local[2,4]", pytest.param("local-cluster[2,1,1024]", marks=pytest.mark.long)]
)
def test_spark_submit_runs_the_job_with_nothing_but_the_package(
    master: str, package: Path, bare_python: Path, digits: Path, tmp_path: Path
) -> None:
    done = submit(master, package, bare_python, JOB, of_digits(digits, tmp_path / "lake"))

    assert done.returncode == 0, done.stderr[-3000:]
    summary = json.loads(done.stdout.splitlines()[-1])
    assert (summary["rows_read"], summary["scored"], summary["quarantined"]) == (1797, 1792, 5)
    assert summary["books_closed"] is True
    (counted,) = query(
        LakeLocation(tmp_path / "lake"), "SELECT count(*) AS n FROM digits_current"
    ).to_pylist()
    assert counted["n"] == 1792


def test_spark_submit_ends_with_the_exit_code_of_the_gate(
    package: Path, bare_python: Path, digits: Path, tmp_path: Path
) -> None:
    strict = {**of_digits(digits, tmp_path / "lake"), "contract.max_quarantined": 0.001}
    refused = submit("local[2,4]", package, bare_python, JOB, strict)

    assert refused.returncode == 3, refused.stderr[-3000:]
    error = json.loads(refused.stdout.splitlines()[-1])
    assert error["exit_code"] == 3
    assert "max_quarantined" in error["got"]
