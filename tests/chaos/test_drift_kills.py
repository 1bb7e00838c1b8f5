"""A driver that is killed around a unit's commit: profiles are those of a run that nobody disturbed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.driven import KILL, start, table, violations
from tests.chaos.test_kills import killing
from tests.helpers import image_table, images, job_of, pixel_mlp, write_parquet

pytestmark = [pytest.mark.spark, pytest.mark.slow, pytest.mark.faults, pytest.mark.timeout(600)]
ROWS, FILES = 60, 6
# A sum of doubles depends on the order in which they came: the mean alone may differ, in its last digit.
TOLD = ("unit", "column", "measure", "rows", "nulls", "not_finite", "least", "largest", "sketch")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("action", ["warn", "stop"])
def test_profiles_after_kills_are_those_of_an_undisturbed_run(tmp_path: Path, action: str) -> None:
    model = pixel_mlp(tmp_path / "model")
    write_parquet(tmp_path / "input", image_table(images(ROWS)), files=FILES)
    watched = {
        "engine": {"backend": "torch", "precision": "fp32"},
        "monitor": {"outputs": {"action": action, "max_nan_share": 0.5}},
    }
    job = job_of(tmp_path, model, **watched)
    for at in ("before_commit", "after_commit"):
        driver = start(job, tmp_path / "drivers", script=killing(at, 2, tmp_path / "calls"))
        assert driver.wait() == -KILL, driver.log.read_text("utf-8")
        assert not driver.orphans()
    last = start(job, tmp_path / "drivers")
    assert last.wait() == 0, last.log.read_text("utf-8")
    quiet = job_of(tmp_path, model, output={"path": str(tmp_path / "quiet")}, **watched)
    assert start(quiet, tmp_path / "drivers").wait() == 0

    assert not violations(job, model, images(ROWS), set(), set())
    one, other = (
        sorted(
            (tuple(row[name] for name in TOLD) for row in table(tmp_path / lake, "profiles")),
            key=str,
        )
        for lake in ("lake", "quiet")
    )
    assert one == other
    assert len(one) == 1 + FILES * 4  # the length of the input; label, score, and two of the array
