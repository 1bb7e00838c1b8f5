"""How much there is to compute, told before a row is read."""

from __future__ import annotations

from pathlib import Path

from millrace.pipelines.inference.calibration import WORTH_S
from millrace.pipelines.job.model_check import VerifiedModel
from millrace.pipelines.job.size_estimate import most_seconds
from tests.helpers import columns_mlp, loaded, pixel_mlp


def verified(folder: Path) -> VerifiedModel:
    return VerifiedModel(folder, loaded(folder).card, "")


def test_a_weight_serves_a_row_of_columns_once_and_may_serve_an_image_at_each_place(
    tmp_path: Path,
) -> None:
    columns = verified(columns_mlp(tmp_path / "columns", a="double", b="double"))
    image = verified(pixel_mlp(tmp_path / "image"))

    assert most_seconds(columns, 1_000_000) < WORTH_S < most_seconds(image, 1_000_000_000)
    assert most_seconds(image, 1000) > 100 * most_seconds(columns, 1000)
    assert most_seconds(image, 2000) == 2 * most_seconds(image, 1000)
