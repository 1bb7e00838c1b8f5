"""A model folder changed on purpose gets a card again; what a file manager leaves in it is not of the model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from millrace.pipelines.cli import main
from millrace.schemas.errors import ModelError
from millrace.udfs.models.model_folder import seal, write_card
from millrace.udfs.models.model_loading import digest_of, read_card, verify
from tests.helpers import loaded, pixel_mlp

LITTER = (".DS_Store", "Thumbs.db", "desktop.ini", "._weights.safetensors", "__MACOSX/._model.yaml")


def litter(folder: Path) -> None:
    for name in LITTER:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"left by a file manager")


def test_what_a_file_manager_leaves_is_no_reason_to_refuse(tmp_path: Path) -> None:
    folder = pixel_mlp(tmp_path / "model")
    litter(folder)

    verify(folder, read_card(folder))

    assert loaded(folder).card.files.keys() == {"weights.safetensors"}


def test_a_card_does_not_vouch_for_what_a_file_manager_leaves(tmp_path: Path) -> None:
    folder = pixel_mlp(tmp_path / "model")
    litter(folder)

    card = write_card(folder, **read_card(folder).model_dump(mode="json", exclude={"files"}))

    assert card.files.keys() == {"weights.safetensors"}


@pytest.mark.parametrize("name", ["notes.md", ".hidden.json", "sub/.DS_Store.safetensors"])
def test_any_other_file_that_no_card_names_is_refused(tmp_path: Path, name: str) -> None:
    folder = pixel_mlp(tmp_path / "model")
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"")

    with pytest.raises(ModelError, match="not listed"):
        verify(folder, read_card(folder))


def test_a_changed_folder_is_refused_until_it_is_sealed(tmp_path: Path) -> None:
    folder = pixel_mlp(tmp_path / "model")
    before, weights = digest_of(folder), folder / "weights.safetensors"
    said = read_card(folder).model_dump(mode="json", exclude={"files"})
    weights.write_bytes(pixel_mlp(tmp_path / "other").joinpath(weights.name).read_bytes() + b"")
    (folder / "notes.md").write_text("why it changed", "utf-8")
    with pytest.raises(ModelError, match="model seal"):
        verify(folder, read_card(folder))

    result = CliRunner().invoke(main, ["model", "seal", str(folder), "--json"])

    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    verify(folder, read_card(folder))
    assert read_card(folder).model_dump(mode="json", exclude={"files"}) == said
    assert found["added"] == ["notes.md"]
    assert found["digest"] == digest_of(folder) != before


def test_a_sealed_folder_does_not_keep_checks_of_what_it_was(tmp_path: Path) -> None:
    folder = pixel_mlp(tmp_path / "model")
    check = {
        "compared": "probabilities",
        "library": "transformers",
        "version": "5",
        "rows": 9,
        "largest_difference": 0.0,
        "allowed": 1e-4,
    }
    said = read_card(folder).model_dump(mode="json", exclude={"files", "checks"})
    write_card(folder, **said, checks=[check])
    assert seal(folder).card.checks, "nothing changed: the check holds"
    (folder / "notes.md").write_text("new", "utf-8")

    assert not seal(folder).card.checks
