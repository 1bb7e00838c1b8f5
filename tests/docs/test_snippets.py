"""What the documentation shows is what happens: its job loads, its commands run, its files are used."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import click
import pytest
import yaml

from millrace.pipelines.cli import main
from millrace.pipelines.sources.shipped_files import price_book
from millrace.schemas.config import Cost, Engine, Job, RunSettings
from millrace.schemas.yaml_file import load

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
ENGINE_PAGE = ROOT / "docs" / "ENGINE.md"
_BLOCK = re.compile(  # a file has its name as title, any other named block a comment above it
    r'(?:^<!-- (\S+) -->\n)?^```(\w+)(?: title="([^"\n]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL
)


class Block(NamedTuple):
    language: str
    title: str
    text: str


def blocks(page: Path) -> list[Block]:
    found = _BLOCK.findall(page.read_text("utf-8"))
    return [Block(language, name or title, text) for name, language, title, text in found]


def commands(block: Block) -> list[list[str]]:
    joined = block.text.replace("\\\n", " ")
    words = [shlex.split(line, comments=True) for line in joined.splitlines()]
    return [command for command in words if command]


ALL = [(page, block) for page in PAGES for block in blocks(page)]
SHELL = [
    pytest.param(words, id=f"{page.name}: {' '.join(words)[:60]}")
    for page, block in ALL
    if block.language in ("sh", "console")
    for words in commands(block)
]


@pytest.mark.parametrize("words", SHELL)
def test_every_command_in_the_docs_exists_with_its_options(words: list[str]) -> None:
    if words[0] == "millrace":
        with click.Context(main) as parent:
            name, command, rest = main.resolve_command(parent, words[1:])
            assert command is not None
            command.make_context(name, rest, parent=parent)  # parses the arguments, runs nothing
    elif words[0] == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert {word for word in words[1:] if "=" not in word} <= set(targets)
    elif words[0] != "hf":  # whose names are the Hub's, not paths
        paths = [word for word in words if "/" in word and not set("=$") & set(word)]
        paths = [word for word in paths if "://" not in word]
        files = [word for word in paths if not word.startswith(("-", "/"))]  # /: in a container
        made_by_make = [word for word in files if word.startswith("dist/")]
        assert all((ROOT / word).exists() for word in files if word not in made_by_make), files


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_in_the_docs_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


def test_every_job_in_the_docs_loads(tmp_path: Path) -> None:
    jobs = [
        block for _, block in ALL if block.language == "yaml" and block.text.startswith("name:")
    ]
    assert jobs
    for number, block in enumerate(jobs):
        path = tmp_path / f"{number}.yaml"
        path.write_text(block.text)
        load(path, Job)


def test_every_engine_setting_that_the_engine_page_lists_is_one() -> None:
    (block,) = [b for b in blocks(ENGINE_PAGE) if b.title == "engine.yaml"]
    settings = yaml.safe_load(block.text)["engine"]
    assert Engine.model_validate(settings) == Engine()
    listed = re.findall(r"^  (\w+): auto +# (.*)$", block.text, re.MULTILINE)
    assert [name for name, _ in listed] == list(settings)
    for name, comment in listed:
        for value in re.findall(r"[a-z_0-9]+", comment.partition(":")[0]):
            if value not in ("or", "rows"):
                Engine.model_validate({name: value})


def test_every_run_setting_that_the_engine_page_lists_is_one_with_its_default() -> None:
    (block,) = [b for b in blocks(ENGINE_PAGE) if b.title == "run.yaml"]
    settings = RunSettings.model_validate(yaml.safe_load(block.text)["run"])
    assert settings.model_copy(update={"batch_timeout_s": None}) == RunSettings()


def test_the_budget_that_the_docs_show_is_one() -> None:
    (block,) = [block for _, block in ALL if block.title == "budget.yaml"]
    cost = Cost.model_validate(yaml.safe_load(block.text)["cost"])
    assert price_book(cost.prices).instances
    assert cost.budget == 5


@pytest.mark.spark
@pytest.mark.slow
def test_the_readme_scores_a_csv_of_ones_own(tmp_path: Path) -> None:
    done = []
    for block in blocks(ROOT / "README.md"):
        if block.title == "commands":
            done += [run(words, tmp_path) for words in commands(block)]
        elif block.title == "commands-output":
            printed = {squeezed(line) for one in done for line in one.stdout.splitlines()}
            assert {squeezed(line) for line in block.text.splitlines()} <= printed
        elif block.title and block.title != "not-run":
            (tmp_path / block.title).write_text(block.text)

    _, validated, ran, answer, reasons = done
    assert "5 rows, 2 quarantined" in validated.stdout
    assert "5 read = 3 scored + 2 quarantined + 0 failed" in ran.stdout
    assert re.search(r"p-1\s+fine", answer.stdout)
    assert re.search(r"p-2\s+risky", answer.stdout)
    assert re.search(r"p-5\s+risky.*usual_amount", answer.stdout)
    assert "positive" in reasons.stdout
    assert "payments.csv line 5" in subprocess.run(
        [*PROGRAM, "sql", "SELECT reasons FROM quarantine", "--lake", "lake"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip


def squeezed(line: str) -> str:
    """Return a line of a table with its numbers rounded and its blanks joined."""
    rounded = re.sub(r"\d\.\d{6,}", lambda number: f"{float(number[0]):.4f}", line)
    return re.sub(r"[\s─]+", " ", rounded).strip()


PROGRAM = [sys.executable, "-m", "millrace.pipelines.cli"]


def run(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *words[1:]] if words[0] == "python" else [*PROGRAM, *words[1:]]
    return ran(command, folder)


def ran(command: list[str], folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """What a command did that has to end well; it finds this tree's packages."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        env=environment,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done
