"""docs/MODELS.md, as a reader follows it: train, export, import."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

from millrace.schemas.steps import ClassifyStep
from millrace.udfs.models.model_loading import read_card
from tests.docs.test_snippets import ROOT, blocks, ran
from tests.docs.test_tutorial_page import shell

BLOCKS = {block.title: block.text for block in blocks(ROOT / "docs" / "MODELS.md")}


@pytest.mark.slow
def test_a_scikit_learn_model_is_imported_as_the_page_shows(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(BLOCKS["train.py"])
    ran([sys.executable, "train.py"], tmp_path)

    printed = shell(BLOCKS["import"], tmp_path)

    card = read_card(tmp_path / "model")
    assert "on 50 rows: largest difference" in printed
    assert card.postprocess.options.output == "probabilities"  # type: ignore[union-attr]
    assert card.checks[0].largest_difference <= 1e-6


def test_the_step_of_a_card_by_hand_is_one() -> None:
    step = ClassifyStep.model_validate(yaml.safe_load(BLOCKS["classify.yaml"])["postprocess"])

    assert step.options.labels == ("fine", "risky")
