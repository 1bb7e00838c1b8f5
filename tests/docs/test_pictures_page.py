"""What docs/PICTURES.md shows is what happens."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pyarrow as pa
import pytest
import yaml
from PIL import Image

from millrace.schemas.steps import ImageOptions, ImageStep
from millrace.udfs.backends.runtimes import runtimes
from millrace.udfs.models.model_loading import digest_of, load, read_card
from tests.docs.test_snippets import ROOT, blocks, ran

PAGE = ROOT / "docs" / "PICTURES.md"


def test_the_step_is_one_and_the_table_has_its_defaults() -> None:
    (step,) = [block for block in blocks(PAGE) if block.language == "yaml" and not block.title]
    ImageStep.model_validate(yaml.safe_load(step.text)["preprocess"])
    rows = [
        line.split("|") for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| `")
    ]
    listed = {name.strip(" `"): yaml.safe_load(value.strip(" `")) for _, name, value, *_ in rows}
    assert ImageOptions.model_validate(listed) == ImageOptions()
    assert len(listed) == 3


def test_the_decoder_for_training_runs(tmp_path: Path) -> None:
    (script,) = [block for block in blocks(PAGE) if block.title == "decode.py"]
    (tmp_path / "pictures").mkdir()
    (tmp_path / script.title).write_text(script.text)
    file = io.BytesIO()
    Image.new("RGBA", (3, 2), (0, 0, 0, 0)).save(file, "PNG")
    (tmp_path / "pictures" / "a.png").write_bytes(file.getvalue())

    done = ran([sys.executable, script.title], tmp_path)

    assert done.stdout == "a.png (3, 224, 224) 255.0\n"


@pytest.mark.slow
def test_a_network_of_ones_own_becomes_a_model_that_reads_pictures(tmp_path: Path) -> None:
    (script,) = [block for block in blocks(PAGE) if block.title == "make_model.py"]
    (tmp_path / script.title).write_text(script.text)
    file = io.BytesIO()
    Image.new("RGB", (3, 2)).save(file, "PNG")

    ran([sys.executable, script.title], tmp_path)

    out = tmp_path / "model"
    model = load(out, digest_of(out), runtimes(read_card(out), "cpu")[0])
    batch = pa.record_batch({"content": pa.array([file.getvalue()] * 3, pa.binary())})
    found = model.predict(model.decode(batch).values)
    assert len(found["label"]) == len(found["score"]) == 3
    assert set(found["label"]) <= {"cat", "dog"}
