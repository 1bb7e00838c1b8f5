"""English paragraphs that every Python carries: language topics and the library's docstrings."""

from __future__ import annotations

import ast
import hashlib
import re
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from pydoc_data.topics import topics

import pyarrow as pa

from millrace.schemas.errors import UsageError

FEWEST_WORDS, MOST_WORDS = 5, 400
# Tests, programs, and what Python carries for others: not the library's own text.
_SKIPPED = {
    "test", "tests", "idlelib", "lib2to3", "site-packages", "turtledemo", "ensurepip", "pydoc_data",
    "distutils", "encodings",
}  # fmt: skip
_NAMES = {"posixpath": "os.path"}  # modules that people know by another name
_COMMON = {
    "the", "a", "an", "of", "to", "is", "are", "in", "and", "or", "for", "be", "it", "this", "that",
    "with", "by", "not", "as", "on", "if",
}  # fmt: skip
_CODE = re.compile(
    r">>>|::=|^\s*(def|class|import|from|return|@\w+)\b|\w+\(.*\)\s*->", re.MULTILINE
)
_UNDERLINE = re.compile(r"^\s*([^\w\s])\1{2,}\s*$", re.MULTILINE)
_BULLET = re.compile(r"^\s*(?:[*+•-]|\d+[.)]|\(\w\)|[.]{2})\s+")
_ROLE = re.compile(r":\w+(?::\w+)?:`~?([^`<]+)(?:<[^`]*)?`")  # :meth:`~str.join` -> str.join
_LITERAL = re.compile(r"``?([^`]+)``?")
_LETTERS = 0.7  # of the characters that are not blanks; less of them is a table or code

Paragraph = tuple[str, str]  # where it stands, and its text

SCHEMA = pa.schema(
    [
        pa.field("paragraph_id", pa.int64(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
    ]
)


def corpus(count: int) -> pa.Table:
    """``count`` different paragraphs, ``paragraph_id, source, text``; the same for the same Python.

    All language topics come first, then what docstrings say of modules and functions, then of
    classes and methods, as far as ``count`` goes; the last of these are picked by hash, from all
    modules alike. All keep the order of their modules. Raises UsageError where there are fewer.
    """
    about_language = list(different(from_topics()))
    seen = {text for _, text in about_language}
    others = [one for one in different(from_docstrings()) if one[1] not in seen]
    if len(about_language) + len(others) < count:
        raise UsageError(
            "this Python carries too little documentation",
            got=f"{len(about_language) + len(others)} paragraphs",
            allowed=f"at least {count}",
            next="use a Python with its standard library's source files, or a smaller --rows",
        )
    free = max(0, count - len(about_language))
    picked = sorted(sorted(range(len(others)), key=lambda at: _rank(others[at]))[:free])
    chosen = [*about_language[:count], *(others[at] for at in picked)]
    sources, texts = zip(*chosen, strict=True)
    return pa.table([range(count), sources, texts], schema=SCHEMA)


def different(paragraphs: Iterable[Paragraph]) -> Iterator[Paragraph]:
    """The paragraphs without those whose text was there before."""
    seen: set[str] = set()
    for source, text in paragraphs:
        if text not in seen:
            seen.add(text)
            yield source, text


def from_topics() -> Iterator[Paragraph]:
    """The paragraphs of ``help("with")`` and the like, as ``topic: with``.

    Chapters repeat what topics of their own say; the shortest come first, which are to the point.
    """
    for name in sorted(topics, key=lambda name: (len(topics[name]), name)):
        yield from ((f"topic: {name}", text) for text in prose(topics[name]))


def from_docstrings(library: Path | None = None) -> Iterator[Paragraph]:
    """The paragraphs of all public docstrings below a folder of modules, parsed and never imported.

    ``library`` is the standard library unless given.
    """
    root = library or Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        names = parts[:-1] if parts[-1] == "__init__" else parts
        if names and not _SKIPPED.intersection(parts) and not any(n.startswith("_") for n in names):
            module = ".".join(names)
            yield from _documented(path, f"module {_NAMES.get(module, module)}")


def prose(text: str) -> Iterator[str]:
    """The English paragraphs of a text, each on one line: no headings, code, grammar or tables."""
    for block in re.split(r"\n\s*\n", _UNDERLINE.sub("", text.expandtabs())):
        if _CODE.search(block):
            continue
        words = _LITERAL.sub(r"\1", _ROLE.sub(r"\1", _BULLET.sub("", block))).split()
        if FEWEST_WORDS <= len(words) <= MOST_WORDS and _is_english(words):
            yield " ".join(words)


def _is_english(words: list[str]) -> bool:
    solid = "".join(words)
    letters = sum(char.isalpha() for char in solid)
    has_common = any(word.lower() in _COMMON for word in words)
    return has_common and words[-1][-1] in ".:!?)" and letters >= _LETTERS * len(solid)


def _documented(path: Path, module: str) -> Iterator[Paragraph]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old escapes in the library's own source
        tree = ast.parse(path.read_bytes())
    yield from ((module, text) for text in prose(ast.get_docstring(tree) or ""))
    yield from _members(tree, module, "")


def _members(node: ast.AST, module: str, owner: str) -> Iterator[Paragraph]:
    """The docstrings of public classes and functions in ``node``, and of those classes' members."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If | ast.Try):  # such as a fallback for another system
            yield from _members(child, module, owner)
        if not isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if child.name.startswith("_"):
            continue
        is_class = isinstance(child, ast.ClassDef)
        kind = "class" if is_class else "method" if owner else "function"
        source = f"{module}, {kind} {owner}{child.name}"
        yield from ((source, text) for text in prose(ast.get_docstring(child) or ""))
        if is_class:
            yield from _members(child, module, f"{owner}{child.name}.")


def _rank(paragraph: Paragraph) -> tuple[bool, bytes]:
    """What a corpus takes first: the smallest. Methods repeat each other, functions seldom do."""
    source, text = paragraph
    of_class = ", class " in source or ", method " in source
    return of_class, hashlib.sha256(text.encode()).digest()
