"""The tutorial, as a newcomer follows it: its files, its commands in a shell, and what it says they print."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from tests.docs.test_snippets import ROOT, blocks, ran

PAGE = ROOT / "docs" / "TUTORIAL.md"
FILES = ("messages.csv", "job.yaml")
STEPS = ("model", "run", "refused", "alike")
PROGRAM = f'millrace() {{ "{sys.executable}" -m millrace.pipelines.cli "$@"; }}\n'
ENTERS = ("activate", "mkdir ten-minutes")  # the environment and the folder: a test has its own


@pytest.mark.spark
@pytest.mark.slow
def test_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    text = {block.title: block.text for block in blocks(PAGE)}
    for name in FILES:
        (tmp_path / name).write_text(text[name])

    for step in STEPS:
        lines = [line for line in text[step].splitlines() if not any(w in line for w in ENTERS)]
        printed = shell("\n".join(lines), tmp_path)
        for line in map(squeezed, text[f"{step}-output"].splitlines()):
            assert line in squeezed(printed), f"{step}: {line!r} is not in\n{printed}"


def shell(script: str, folder: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return ran(["bash", "-euc", PROGRAM + script], folder, PATH=path, COLUMNS="200").stdout


def squeezed(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()
