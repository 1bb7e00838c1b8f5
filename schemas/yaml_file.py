"""YAML files as frozen values; every error names file, line, key, what was found and what is allowed."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from schemas.errors import JobFileError, UsageError

Value = TypeVar("Value", bound=BaseModel)
Place = tuple[str | int, ...]
Lines = dict[Place, str]

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_MAX_BYTES = 1 << 20
_MAX_VALUES, _MAX_DEPTH = 10_000, 50  # aliases make much of little
_MIN_SECRET_CHARS = 4  # shorter ones would be found inside of other words


def load(
    path: Path,
    kind: type[Value],
    *,
    overrides: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
) -> Value:
    """The file at ``path`` as a ``kind``, after ``a.b=c`` overrides.

    ``${NAME}`` inside a text stands for an environment variable, put in after parsing, so that its
    value is never read as YAML. Raises JobFileError.
    """
    tree, lines = _read(path)
    for override in overrides:
        _override(tree, lines, override)
    known = os.environ if env is None else env
    filled = _fill(tree, (), lines, known)
    try:
        return kind.model_validate(filled)
    except ValidationError as error:
        told = _explained(error, kind, lines, path)
        used = {name: known[name] for name in _VARIABLE.findall(str(tree))}
        raise JobFileError(_masked(told.what, used), next=told.next) from None


def _masked(text: str, used: Mapping[str, str]) -> str:
    """The text with variables' names in place of their values, which may be secret."""
    for name, value in sorted(used.items(), key=lambda item: -len(item[1])):
        if len(value) >= _MIN_SECRET_CHARS:
            text = text.replace(repr(value)[1:-1], f"${{{name}}}").replace(value, f"${{{name}}}")
    return text


def _read(path: Path) -> tuple[Any, Lines]:
    if not path.is_file():
        raise UsageError(
            "no such file", got=str(path), next="check the path; see conf/jobs/ for examples"
        )
    if path.stat().st_size > _MAX_BYTES:
        raise JobFileError(
            "file too large", got=f"{path}: {path.stat().st_size} bytes", allowed="1 MiB"
        )
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
        hint = 'inside { } a variable needs quotes: {path: "${NAME}"}' if "${" in text else None
        raise JobFileError(
            f"{where}: not YAML", got=getattr(error, "problem", None), next=hint
        ) from None
    lines: Lines = {}
    return _plain(node, (), lines, path), lines


def _plain(node: yaml.Node | None, place: Place, lines: Lines, path: Path) -> Any:
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


def _mapping(node: yaml.MappingNode, place: Place, lines: Lines, path: Path) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = str(key_node.value)
        if key in plain:
            where = f"{path}:{key_node.start_mark.line + 1}"
            raise JobFileError(f"{where}: the key {key!r} is given twice")
        plain[key] = _plain(value_node, (*place, key), lines, path)
        lines[(*place, key)] = f"{path}:{key_node.start_mark.line + 1}"
    return plain


def _override(tree: Any, lines: Lines, override: str) -> None:
    """Set one ``a.b=c`` in the tree; the value is read as a YAML scalar or flow list."""
    dotted, equals, text = override.partition("=")
    if not equals or not dotted:
        raise UsageError(
            "--set wants key=value", got=override, allowed="for example source.path=data/"
        )
    try:
        value = yaml.safe_load(text) if text else ""
    except yaml.YAMLError:
        value = text
    place: Place = tuple(dotted.split("."))
    at = tree
    for part in place[:-1]:
        at = at.setdefault(part, {}) if isinstance(at, dict) else None
    if not isinstance(at, dict):
        raise UsageError("--set names something inside a value that has no keys", got=override)
    at[place[-1]] = value
    lines[place] = f"--set {override}"


def _fill(value: Any, place: Place, lines: Lines, env: Mapping[str, str]) -> Any:
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
                f"{where}: {_dotted(place)} needs the environment variable {match[1]}, which is not set",
                next=f"export {match[1]}=...",
            )
        return env[match[1]]

    return _VARIABLE.sub(variable, value)


def _explained(
    error: ValidationError, kind: type[BaseModel], lines: Lines, path: Path
) -> JobFileError:
    problems = [
        _problem(dict(problem), kind, lines, path) for problem in error.errors(include_url=False)
    ]
    return JobFileError("\n".join(problems), next="correct the file, or use --set")


def _problem(problem: dict[str, Any], kind: type[BaseModel], lines: Lines, path: Path) -> str:
    place = tuple(part for part in _without_tags(problem["loc"], lines))
    where = _nearest_line(place, lines) or str(path)
    name = _dotted(place) or "the file"
    if problem["type"] == "extra_forbidden":
        known = _known_keys(kind, problem["loc"][:-1])
        close = difflib.get_close_matches(str(place[-1]), known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        return f"{where}: unknown key {name!r}{hint} (allowed: {', '.join(known)})"
    if problem["type"] == "missing":
        return f"{where}: {name} is missing"
    text = problem["msg"].removeprefix("Value error, ")
    got = problem.get("input")
    shown = f" (got {got!r})" if isinstance(got, str | int | float | bool) else ""
    return f"{where}: {name}: {text}{shown}"


def _without_tags(loc: Place, lines: Lines) -> Iterator[str | int]:
    """A pydantic location without the names of union members, which no file contains."""
    place: Place = ()
    for at, part in enumerate(loc):
        is_last = at == len(loc) - 1
        if (*place, part) in lines or is_last or isinstance(part, int):
            place = (*place, part)
            yield part


def _nearest_line(place: Place, lines: Lines) -> str | None:
    for end in range(len(place), -1, -1):
        if place[:end] in lines:
            return lines[place[:end]]
    return None


def _dotted(place: Place) -> str:
    return ".".join(str(part) for part in place)


def _known_keys(kind: type[BaseModel], place: Place) -> list[str]:
    """The keys that the model at ``place`` below ``kind`` knows; a union's tag picks its member."""
    models = [kind]
    for part in place:
        found = [m.model_fields[part].annotation for m in models if part in m.model_fields]
        if found:
            models = [inner for annotation in found for inner in _models_in(annotation)]
        elif isinstance(part, str):
            models = [
                m for m in models if "format" in m.model_fields and part in _literals(m)
            ] or models
    return sorted({name for model in models for name in model.model_fields})


def _literals(model: type[BaseModel]) -> tuple[Any, ...]:
    return getattr(model.model_fields["format"].annotation, "__args__", ())


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    inner = getattr(annotation, "__args__", ())
    return [model for argument in inner for model in _models_in(argument)]
