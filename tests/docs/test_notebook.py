"""The notebook runs from top to bottom, on files that it makes itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.docs.test_snippets import ROOT

NOTEBOOK = ROOT / "docs" / "notebooks" / "first_run.ipynb"


def outputs(cell: Any) -> str:
    """What a cell printed or shows, as text."""
    texts = [one.get("text", "") for one in cell.get("outputs", ())]
    texts += [
        one["data"].get("text/html", one["data"]["text/plain"])
        for one in cell.get("outputs", ())
        if "data" in one
    ]
    return "".join(texts)


def test_the_notebook_is_stored_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not [
        cell for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count")
    ]


@pytest.mark.spark
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_notebook_runs_and_shows_its_values_as_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    folder = tmp_path / "work"
    folder.mkdir()
    client = NotebookClient(
        notebook, timeout=500, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )

    client.execute()

    shown = {cell.source: outputs(cell) for cell in notebook.cells if cell.cell_type == "code"}
    assert "60 rows, 2 quarantined: the gate opens" in shown["verdict"]
    (summary,) = [text for source, text in shown.items() if source.endswith("\nsummary")]
    assert "<td>58</td>" in summary
    (reasons,) = [text for source, text in shown.items() if "quarantine_reasons" in source]
    assert "positive" in reasons
    assert "real_hour" in reasons
    (dry,) = [text for source, text in shown.items() if source.endswith("\ndry")]
    assert "<td>new</td>" in dry
    (lake,) = [text for source, text in shown.items() if source.endswith("\nlake")]
    assert "<table>" in lake
    assert (folder / "lake" / "runs" / "_delta_log").is_dir()
