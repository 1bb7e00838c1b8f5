"""What the pages say exists does: commands, options, keys, tables, views, exit codes, files, targets, limits."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import click
import pytest
from pydantic import BaseModel

from millrace.pipelines.cli import main
from millrace.pipelines.spark.session_settings import DEFAULTS
from millrace.schemas import errors, tables
from millrace.schemas.config import Job
from millrace.schemas.model import ModelCard
from millrace.schemas.prices import PriceBook
from millrace.udfs.engine.batching import FIRST_ROWS
from millrace.udfs.runtime.plan import Plan
from tests.docs.test_snippets import PAGES, ROOT

TEXTS = {page: page.read_text("utf-8") for page in PAGES if "adr" not in page.parts}
COMMANDS_PAGE = (ROOT / "docs" / "COMMANDS.md").read_text("utf-8")
_CODE = re.compile(r"`([^`\n]+)`")


def codes(text: str) -> set[str]:
    """What stands between single backticks, outside of blocks."""
    plain = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return set(_CODE.findall(plain))


def commands(group: click.Group, before: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        yield before + name, command
        if isinstance(command, click.Group):
            yield from commands(command, f"{before}{name} ")


COMMANDS = dict(commands(main))


def section(text: str, title: str) -> str:
    return text.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


def test_the_page_of_commands_lists_every_command_and_no_other() -> None:
    listed = set(re.findall(r"`millrace ((?:model )?[a-z]+)", section(COMMANDS_PAGE, "Commands")))
    known = {name for name, one in COMMANDS.items() if not isinstance(one, click.Group)}
    groups = {name for name, one in COMMANDS.items() if isinstance(one, click.Group)}
    assert listed - known - groups == set()
    assert {
        name for name in known if name.split()[0] not in {one.split()[0] for one in listed}
    } == set()


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_every_command_in_a_text_exists(page: Path) -> None:
    named = {code for code in codes(TEXTS[page]) if code.startswith("millrace ")}
    wrong = []
    for code in named:
        words = code.split()[1:]
        name = " ".join(words[:2]) if " ".join(words[:2]) in COMMANDS else words[0]
        if name.startswith("-"):
            continue
        options = re.findall(r"(--[a-z][a-z-]+)", code)
        known = {o for p in COMMANDS[name].params for o in p.opts} if name in COMMANDS else set()
        if name not in COMMANDS or not set(options) <= known | {"--help"}:
            wrong.append(code)
    assert wrong == []


def test_exit_codes_are_those_of_the_errors() -> None:
    kinds = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.MillraceError)]  # fmt: skip
    known = {0, *(kind.exit_code for kind in kinds)}
    rows = section(COMMANDS_PAGE, "Exit codes")
    assert {int(code) for code in re.findall(r"^\| (\d+) ", rows, re.MULTILINE)} == known
    clusters = TEXTS[ROOT / "docs" / "CLUSTERS.md"]
    (on_clusters,) = re.findall(r"the run's exit code \(([\d, or]+)\)", clusters)
    assert {int(code) for code in re.findall(r"\d+", on_clusters)} == known


def test_the_page_of_commands_lists_every_table_and_view_and_no_other() -> None:
    known = {one.name for one in vars(tables).values() if isinstance(one, tables.Table)}
    rows = section(COMMANDS_PAGE, "Tables").split("| table | one row is |", 1)[1]
    listed = {name for row in rows.splitlines()[2:] if row for name in _CODE.findall(row.split("|")[1])}  # fmt: skip
    assert {name.replace("predictions_<job>", "predictions_") for name in listed} - known <= {
        "predictions_"
    }
    assert known - listed <= SMALL
    views = {
        entry.name.removesuffix(".sql") for entry in (files("millrace.schemas") / "views").iterdir()
    }
    paragraph = section(COMMANDS_PAGE, "Views").strip().split("\n\n", 1)[0]
    named = {name.replace("<job>_current", "job_current") for name in _CODE.findall(paragraph)}
    assert {name for name in named if "/" not in name and " " not in name} <= views


SMALL = {"cached_outputs", "outputs", "cache"}  # of a job's own making: docs/SAVING.md


def test_the_page_of_commands_lists_every_kind_of_source() -> None:
    (line,) = re.findall(r"^Sources: (.*?)\n\n", COMMANDS_PAGE, re.MULTILINE | re.DOTALL)
    known = {str(kind.model_fields["format"].annotation.__args__[0]) for kind in _models(Job.model_fields["source"].annotation)}  # type: ignore[union-attr] # fmt: skip
    assert set(_CODE.findall(line)) >= known


def _models(kind: Any) -> Iterator[type[BaseModel]]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    for part in typing.get_args(kind):
        yield from _models(part)


def keys(kind: type[BaseModel], before: str = "") -> Iterator[str]:
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        if name in kind.model_fields:
            yield before + name
            for model in _models(hint):
                yield from keys(model, f"{before}{name}.")


KEYS = {key for root in (Job, ModelCard, PriceBook) for key in keys(root)}
SECTIONS = ("source", "contract", "model", "engine", "run", "output", "cost", "monitor", "observe")


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_every_key_of_a_job_in_a_text_is_one(page: Path) -> None:
    dotted = {
        code.partition(":")[0]
        for code in codes(TEXTS[page])
        if re.fullmatch(rf"({'|'.join(SECTIONS)})(\.[a-z_]+)+(: .*)?", code)
    }
    dotted -= {"model.decode", "model.predict"}  # the two methods of a model
    dotted -= {one for one in dotted if one.endswith((".yaml", ".py", ".md"))}
    assert {one for one in dotted if one not in KEYS and not _is_below(one)} == set()


def _is_below(key: str) -> bool:
    """A name of the user's own, such as a column, below a key that holds names."""
    return any(key.startswith(f"{one}.") for one in ("contract.columns", "cost.tags", "monitor.outputs.ranges"))  # fmt: skip


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_every_file_of_the_repository_in_a_text_is_there(page: Path) -> None:
    named = {
        code
        for code in codes(TEXTS[page])
        if re.fullmatch(
            r"(pipelines|udfs|schemas|conf|deploy|benches|docs|tests|examples)/[\w./-]+", code
        )
    }
    gone = {one for one in named if not (ROOT / one).exists() and not list(ROOT.glob(one))}
    assert gone == set()


def test_every_file_of_the_designs_steps_is_there() -> None:
    steps = section(TEXTS[ROOT / "docs" / "DESIGN.md"], "What a run does")
    named = {one for one in codes(steps) if one.endswith(".py")}
    assert len(named) > 20
    assert {one for one in named if not any((ROOT / part / one).exists() for part in ("", "pipelines"))} == set()  # fmt: skip


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_every_target_of_make_in_a_text_is_one(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {code.split()[1] for code in codes(TEXTS[page]) if re.match(r"make [a-z]", code)}
    assert named <= targets


def test_limits_that_the_pages_name_are_the_codes_own() -> None:
    design = TEXTS[ROOT / "docs" / "DESIGN.md"]
    found = re.search(r"(\d+) rows first and then up to ([\d,]+)", design)
    assert found
    window_rows = next(one.default for one in dataclasses.fields(Plan) if one.name == "window_rows")
    assert [int(one.replace(",", "")) for one in found.groups()] == [FIRST_ROWS, window_rows]
    engine = TEXTS[ROOT / "docs" / "ENGINE.md"]
    assert "only a worker that is silent for ten minutes" in engine
    assert DEFAULTS["spark.python.worker.idleTimeoutSeconds"] == "600"


def test_the_ledger_has_idle_slots_and_the_driver_and_every_page_says_so() -> None:
    for page, text in TEXTS.items():
        assert not re.search(r"[Ii]dle slots and the driver are not", text), page
    assert "idle" in (ROOT / "docs" / "adr" / "0021-a-bill-that-closes.md").read_text("utf-8")
