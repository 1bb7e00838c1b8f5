"""The documentation is plain: short sentences, common words, one index that leads to every page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.docs.test_snippets import PAGES, ROOT

DOCS = ROOT / "docs"
GENERATED = (DOCS / "REFERENCE.md",)  # its texts are comments and help texts of the code
WRITTEN = [page for page in (*PAGES, ROOT / "CHANGELOG.md") if page not in GENERATED]
README_LINES = 250
SENTENCE_WORDS = 32
VAGUE = (
    "told", "tell", "tells", "asked", "kept", "held", "taken up", "takes up", "goes on", "go on",
    "beside", "lest", "whatever", "what was", "what is not", "of which", "that which", "as ever",
    "nobody knows", "a way to compute", "ways to compute",
)  # fmt: skip


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def prose(page: Path) -> list[str]:
    """The paragraphs, list items, headings and cells of a page, without code."""
    text = re.sub(
        r"^```.*?^```$|<!--.*?-->", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    text = re.sub(r"`+[^`]*`+", "CODE", text)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = text.replace("\\|", "/")
    text = re.sub(r"^(\s*)(?:[-*]|\d+\.|#+|\[\^\d\]:) ", r"\n\n", text, flags=re.MULTILINE)
    text = re.sub(
        r"^\|(.*)\|$", lambda row: "\n\n" + row[1].replace("|", "\n\n"), text, flags=re.MULTILINE
    )
    return [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]


def sentences(page: Path) -> list[str]:
    return [one for part in prose(page) for one in re.split(r"(?<=[.!?])[*\")]*\s+", part)]


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= README_LINES


@pytest.mark.parametrize("page", WRITTEN, ids=names(WRITTEN))
def test_sentences_are_short(page: Path) -> None:
    counted = {
        one: sum(bool(re.search(r"\w", word)) for word in one.split()) for one in sentences(page)
    }
    assert {one: words for one, words in counted.items() if words > SENTENCE_WORDS} == {}


@pytest.mark.parametrize("page", WRITTEN, ids=names(WRITTEN))
def test_words_are_plain(page: Path) -> None:
    vague = re.compile(rf"\b(?:{'|'.join(VAGUE)})\b", re.IGNORECASE)
    assert [part for part in prose(page) if vague.search(part)] == []


def test_every_page_is_reachable_from_the_index_and_in_the_navigation() -> None:
    reached: set[Path] = set()
    waiting = [DOCS / "index.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached:
            reached.add(page)
            links = re.findall(r"\]\(([^)#:]+\.md)(?:#[^)]*)?\)", page.read_text("utf-8"))
            waiting += [(page.parent / link).resolve() for link in links]
    pages = set(DOCS.rglob("*.md"))
    assert pages - reached == set()
    navigation = (ROOT / "mkdocs.yml").read_text("utf-8")
    listed = set(_pages_of(yaml.safe_load(navigation)["nav"]))
    assert listed == {str(page.relative_to(DOCS)) for page in pages}


def _pages_of(entry: object) -> list[str]:
    if isinstance(entry, str):
        return [entry]
    parts = list(entry.values()) if isinstance(entry, dict) else entry
    return [page for part in parts for page in _pages_of(part)]  # type: ignore[attr-defined]
