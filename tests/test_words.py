"""Names say what a value is: words that could mean anything are not used, and a class name has one meaning."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("schemas", "udfs", "pipelines", "examples", "deploy")
# Of these the driver knows what they mean: a claim is held, as a lock is, and a job's `keep` columns are kept.
ELSEWHERE = {"told", "asked", "beside"}
# A value is not named after what somebody did with it: name what it has (content, request, pending, log).
BANNED = {"told", "asked", "held", "kept", "beside", "taken"}


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_identifier_has_a_word_that_could_mean_anything(folder: str) -> None:
    banned = BANNED if folder in ("schemas", "udfs") else ELSEWHERE
    found = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in modules(folder)
        for name, line in identifiers(ast.parse(path.read_text("utf-8")))
        if banned & set(name.lower().split("_"))
    ]

    assert found == []


def test_a_class_name_has_one_meaning() -> None:
    places = defaultdict(list)
    for folder in FOLDERS:
        for path in modules(folder):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.ClassDef):
                    places[node.name].append(f"{path.relative_to(ROOT)}:{node.lineno}")

    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def modules(folder: str) -> Iterator[Path]:
    return iter(sorted((ROOT / folder).rglob("*.py")))


def identifiers(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every name that the code defines or uses, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute):
            yield node.attr, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.keyword) and node.arg is not None:
            yield node.arg, node.value.lineno
        elif isinstance(node, ast.alias):
            yield node.asname or node.name.rpartition(".")[2], node.lineno
