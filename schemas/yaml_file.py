"""YAML files as immutable values; every error names file, line, key, what was found and what is allowed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from millrace.schemas.errors import JobFileError, UsageError
from millrace.schemas.yaml_errors import OVERRIDDEN, KeyPath, Lines, dotted, explained

Value = TypeVar("Value", bound=BaseModel)
# ``a.b=c`` texts of a command line, or a tree of values, whose keys may hold dots.
Overrides = Sequence[str] | Mapping[str, Any]

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_WRITE_ONE = "millrace validate --suggest SOURCE writes a job file for your data"
_MAX_BYTES = 1 << 20
_MAX_VALUES, _MAX_DEPTH = 10_000, 50  # aliases make much of little
_SHOWN = 60  # characters of a file that holds no keys
_DATA = {
    ".csv": "a CSV file",
    ".tsv": "a file of tab-separated values",
    ".parquet": "a Parquet file",
    ".jsonl": "a JSON Lines file",
    ".ndjson": "a JSON Lines file",
    ".gz": "a compressed file",
}
_MIN_SECRET_CHARS = 4  # shorter ones would be found inside of other words


@dataclass(frozen=True)
class Document:
    """A parsed file after overrides, with the line of each value."""

    path: Path
    tree: Any
    lines: Lines
    variables: Mapping[str, str]  # of the environment, those that the file uses

    def validated(self, kind: type[Value]) -> Value:
        """Validate the document as a ``kind``. Raises JobFileError."""
        try:
            return kind.model_validate(self.tree)
        except ValidationError as error:
            problem = explained(error, kind, self.lines, self.path)
            raise JobFileError(_masked(problem.what, self.variables), next=problem.next) from None


def load(
    path: Path,
    kind: type[Value],
    *,
    overrides: Overrides = (),
    env: Mapping[str, str] | None = None,
) -> Value:
    """Load the file at ``path`` as a ``kind``, after overrides. Raises JobFileError."""
    return parsed(path, overrides, env).validated(kind)


def parsed(path: Path, overrides: Overrides = (), env: Mapping[str, str] | None = None) -> Document:
    """Parse the file at ``path``, and apply overrides.

    ``${NAME}`` inside a text stands for an environment variable. It is replaced after parsing, so that
    its value is never read as YAML. Raises JobFileError.
    """
    tree, lines = _read(path)
    _override(tree, lines, overrides)
    known = os.environ if env is None else env
    filled = _fill(tree, (), lines, known)
    used = {name: known[name] for name in _VARIABLE.findall(str(tree))}
    return Document(path, filled, lines, used)


def _masked(text: str, used: Mapping[str, str]) -> str:
    """The text with variables' names in place of their values, which may be secret."""
    for name, value in sorted(used.items(), key=lambda item: -len(item[1])):
        if len(value) >= _MIN_SECRET_CHARS:
            text = text.replace(repr(value)[1:-1], f"${{{name}}}").replace(value, f"${{{name}}}")
    return text


def _read(path: Path) -> tuple[Any, Lines]:
    if not path.is_file():
        raise UsageError("no such file", got=str(path), next=f"check the path; {_WRITE_ONE}")
    if path.stat().st_size > _MAX_BYTES:
        raise JobFileError(
            "file too large", got=f"{path}: {path.stat().st_size} bytes", allowed="1 MiB"
        )
    _refuse_data(path)
    text = ""
    try:
        text = path.read_text("utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except UnicodeDecodeError as error:
        raise JobFileError(f"{path}: not UTF-8", got=str(error)) from None
    except RecursionError:
        raise JobFileError(f"{path}: too deep or too many values") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = str(getattr(error, "problem", None) or "no YAML")
        raise JobFileError(f"{where}: not YAML", got=problem, next=_advice(problem, text)) from None
    lines: Lines = {}
    tree = _plain(node, (), lines, path)
    if not isinstance(tree, dict):
        raise JobFileError(
            f"{path}: holds {'a list' if isinstance(tree, list) else 'plain text'}, and no keys",
            got=" ".join(text.split())[:_SHOWN],
            allowed="keys with values, such as name: payments",
            next=f"name a YAML file; {_WRITE_ONE}",
        )
    return tree, lines


def _refuse_data(path: Path) -> None:
    """Raise UsageError for a file whose name says that it holds data."""
    if (suffix := path.suffix.lower()) in _DATA:
        raise UsageError(
            f"{path}: {_DATA[suffix]}, where a YAML file is wanted",
            allowed="a file of keys and values, such as job.yaml",
            next=f"millrace validate --suggest {path} --out job.yaml writes one for this data",
        )


def _advice(problem: str, text: str) -> str | None:
    """What to change in a text that is not YAML, where the problem says it."""
    if "\\t" in problem:
        return "indent with spaces: YAML allows no tabs there"
    if "${" in text:
        return 'inside { } a variable needs quotes: {path: "${NAME}"}'
    if problem.startswith("mapping values"):
        return "put a value that holds a colon into quotes, and check the indentation"
    return None


def _plain(node: yaml.Node | None, place: KeyPath, lines: Lines, path: Path) -> Any:
    """The node as dicts, lists and scalars, noting in ``lines`` where each place was written."""
    if node is None:
        return {}
    lines[place] = f"{path}:{node.start_mark.line + 1}"
    if len(lines) > _MAX_VALUES or len(place) > _MAX_DEPTH:
        raise JobFileError(
            f"{lines[place]}: too deep or too many values",
            allowed=f"{_MAX_VALUES:,} values, {_MAX_DEPTH} levels",
        )
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*place, i), lines, path) for i, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, place, lines, path)
    try:
        return yaml.SafeLoader("").construct_object(node)
    except (yaml.YAMLError, ValueError) as error:  # such as a date that no calendar has, or a tag
        raise JobFileError(
            f"{lines[place]}: not a plain value", got=str(error).splitlines()[0]
        ) from None


def _mapping(node: yaml.MappingNode, place: KeyPath, lines: Lines, path: Path) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = str(key_node.value)
        if key in plain:
            where = f"{path}:{key_node.start_mark.line + 1}"
            raise JobFileError(f"{where}: the key {key!r} is given twice")
        plain[key] = _plain(value_node, (*place, key), lines, path)
        lines[(*place, key)] = f"{path}:{key_node.start_mark.line + 1}"
    return plain


def values_set(overrides: Overrides) -> dict[str, Any]:
    """Return the values that overrides set, as a tree of keys. Raises UsageError."""
    tree: dict[str, Any] = {}
    _override(tree, {}, overrides)
    return tree


def _override(tree: Any, lines: Lines, overrides: Overrides) -> None:
    """Set each value in the tree; a mapping changes only the keys that it has."""
    assignments = _leaves(overrides) if isinstance(overrides, Mapping) else map(_parsed, overrides)
    for place, value, text in assignments:
        at = tree
        for part in place[:-1]:
            at = at.setdefault(part, {}) if isinstance(at, dict) else None
        if not isinstance(at, dict):
            raise UsageError("--set names something inside a value that has no keys", got=text)
        at[place[-1]] = value
        lines[place] = f"{OVERRIDDEN}{text}"


def _leaves(tree: Mapping[str, Any], above: KeyPath = ()) -> Iterator[tuple[KeyPath, Any, str]]:
    for key, value in tree.items():
        place = (*above, key)
        if isinstance(value, Mapping):
            yield from _leaves(value, place)
        else:
            yield place, value, f"{dotted(place)}={value}"


def _parsed(override: str) -> tuple[KeyPath, Any, str]:
    """Take ``a.b=c`` apart; the value is read as a YAML scalar or flow list."""
    names, equals, text = override.partition("=")
    if not equals or not names:
        raise UsageError(
            "--set wants key=value", got=override, allowed="for example source.path=data/"
        )
    try:
        value = yaml.safe_load(text) if text else ""
    except yaml.YAMLError:
        value = text
    return tuple(names.split(".")), value, override


def _fill(value: Any, place: KeyPath, lines: Lines, env: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {k: _fill(v, (*place, k), lines, env) for k, v in value.items()}
    if isinstance(value, list):
        return [_fill(v, (*place, i), lines, env) for i, v in enumerate(value)]
    if not isinstance(value, str):
        return value

    def variable(match: re.Match[str]) -> str:
        if match[1] not in env:
            where = lines.get(place, "")
            raise JobFileError(
                f"{where}: {dotted(place)} needs the environment variable {match[1]}, which is not set",
                next=f"export {match[1]}=...",
            )
        return env[match[1]]

    return _VARIABLE.sub(variable, value)
