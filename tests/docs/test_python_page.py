"""docs/PYTHON.md: its code, in one process on the README's files, prints what the page shows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.test_snippets import ROOT, blocks

pytestmark = [pytest.mark.spark, pytest.mark.slow]


def test_the_code_of_the_page_prints_what_it_shows(tmp_path: Path) -> None:
    for block in blocks(ROOT / "README.md"):
        if block.title in ("payments.csv", "job.yaml", "make_model.py"):
            (tmp_path / block.title).write_text(block.text, "utf-8")
    subprocess.run([sys.executable, "make_model.py"], cwd=tmp_path, check=True, timeout=120)
    page = blocks(ROOT / "docs" / "PYTHON.md")
    code = "\n".join(block.text for block in page if block.language == "python")
    shown = "".join(block.text for block in page if block.language == "text")

    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip

    assert ran.returncode == 0, ran.stderr
    printed = ran.stdout.splitlines()
    assert printed[: len(shown.splitlines())] == shown.splitlines()
    steps, rest = printed[len(shown.splitlines()) : -3], printed[-3:]
    assert "step: validating" in " ".join(steps) or any("scor" in step for step in steps), steps
    assert all(step.startswith("step: ") for step in steps), steps
    assert rest[0] == "[] 3"
    assert "absent.csv" in rest[1] or "source" in rest[1], rest
    assert rest[2] == "nothing was scored: 3"
