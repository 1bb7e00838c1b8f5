"""Errors of a YAML file's values, by file, line and key: found, allowed, and the nearest allowed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from millrace.schemas.errors import JobFileError
from millrace.schemas.nearest import hint

KeyPath = tuple[str | int, ...]
Lines = dict[KeyPath, str]

OVERRIDDEN = "--set "  # begins the line of a value that an override gave
_PLACED = "placed"
_TAGS = ("format", "name")  # the discriminators of unions
_MEMBERS = ("int", "float")  # of a union of numbers: pydantic names them as if they were keys
_PERCENT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%\s*")
_PLAIN = {
    "tuple_type": "a list is wanted, such as [a, b]",
    "dict_type": "keys with values are wanted",
    "model_type": "keys with values are wanted",
    "int_type": "a whole number is wanted",
    "int_parsing": "a whole number is wanted",
    "float_type": "a number is wanted",
    "float_parsing": "a number is wanted",
    "decimal_parsing": "a number is wanted",
    "bool_parsing": "true or false is wanted",
    "bool_type": "true or false is wanted",
    "string_type": "a text is wanted; put it into quotes",
}
_QUOTED = re.compile(r"'([^']*)'")


def placed(text: str, *at: str | int) -> PydanticCustomError:
    """Return an error for a validator to raise, about the value at ``at`` below the model that it checks."""
    return PydanticCustomError(_PLACED, "{text}", {"text": text, "at": at})


def explained(
    error: ValidationError, kind: type[BaseModel], lines: Lines, path: Path
) -> JobFileError:
    """Return all that pydantic found, one line each; equal lines, of a union's members, are one."""
    problems = dict.fromkeys(
        _located(dict(problem), kind, lines, path) for problem in error.errors(include_url=False)
    )
    return JobFileError("\n".join(problems), next="correct the file, or use --set")


def problems_of(error: ValidationError, kind: type[BaseModel]) -> str:
    """Return the errors of values that come from no file, worded as for a file."""
    problems = []
    for problem in error.errors(include_url=False):
        place = problem["loc"]
        everywhere = {place[:end]: "" for end in range(len(place) + 1)}
        problems.append(_problem(dict(problem), kind, _place(dict(problem), everywhere)))
    return "; ".join(dict.fromkeys(problems))


def _located(problem: dict[str, Any], kind: type[BaseModel], lines: Lines, path: Path) -> str:
    place = _place(problem, lines)
    return f"{_nearest_line(place, lines) or path}: {_problem(problem, kind, place)}"


def _place(problem: Mapping[str, Any], lines: Lines) -> KeyPath:
    at = problem["ctx"]["at"] if problem["type"] == _PLACED else ()
    return (*_without_tags(problem["loc"], lines), *at)


def _problem(problem: dict[str, Any], kind: type[BaseModel], place: KeyPath) -> str:
    if problem["type"] == "extra_forbidden":
        known = _known_keys(kind, problem["loc"][:-1])
        meant = hint(str(place[-1]), known)
        return f"unknown key {dotted(place)!r}{meant} (allowed: {', '.join(known) or 'none'})"
    return _explanation(problem, dotted(place) or "the file")


def _explanation(problem: Mapping[str, Any], name: str) -> str:
    """What is wrong with a value, which its place begins."""
    kind, got = problem["type"], problem.get("input")
    if kind in _EXPLANATIONS:
        return _EXPLANATIONS[kind](problem, name)
    if isinstance(got, str) and (percent := _PERCENT.fullmatch(got)):
        share = f"{float(percent[1]) / 100:g}"
        return f"{name}: a share is a number from 0 to 1: write {share} (got {got!r})"
    text = _PLAIN.get(kind, problem["msg"].removeprefix("Value error, "))
    shown = f" (got {got!r})" if isinstance(got, str | int | float | bool) else ""
    return f"{name}: {text}{shown}"


def _missing(_problem: Mapping[str, Any], name: str) -> str:
    return f"{name} is missing"


def _without_tag(problem: Mapping[str, Any], name: str) -> str:
    key = problem["ctx"]["discriminator"].strip("'")
    return f"{name}.{key} is missing"


def _of_place(problem: Mapping[str, Any], name: str) -> str:
    """An error of ours, whose text may begin with the name itself."""
    text, last = problem["msg"], name.rpartition(".")[2]
    if text.startswith((f"{name} ", f"{last} ")):
        return f"{name}{text.removeprefix(name).removeprefix(last)}"
    return f"{name}: {text}"


def _not_allowed(problem: Mapping[str, Any], name: str) -> str:
    """A value that is none of those allowed, and the nearest of them."""
    context = problem["ctx"]
    if problem["type"] == "union_tag_invalid":
        key = context["discriminator"].strip("'")
        name, value, allowed = f"{name}.{key}", context["tag"], context["expected_tags"]
    else:
        value, allowed = problem.get("input"), context["expected"]
    meant = hint(value, _QUOTED.findall(allowed)) if isinstance(value, str) else ""
    return f"{name}: unknown value {value!r}{meant} (allowed: {allowed})"


_EXPLANATIONS: dict[str, Callable[[Mapping[str, Any], str], str]] = {
    _PLACED: _of_place,
    "missing": _missing,
    "union_tag_not_found": _without_tag,
    "union_tag_invalid": _not_allowed,
    "literal_error": _not_allowed,
}


def _without_tags(loc: KeyPath, lines: Lines) -> Iterator[str | int]:
    """A pydantic location without the names of union members, which no file contains."""
    place: KeyPath = ()
    for at, part in enumerate(loc):
        is_last = at == len(loc) - 1
        if (*place, part) in lines or (is_last and part not in _MEMBERS) or isinstance(part, int):
            place = (*place, part)
            yield part


def _nearest_line(place: KeyPath, lines: Lines) -> str | None:
    for end in range(len(place), -1, -1):
        if place[:end] in lines:
            return lines[place[:end]]
    return None


def dotted(place: KeyPath) -> str:
    """Return a place as users write it: ``source.path``."""
    return ".".join(str(part) for part in place)


def _known_keys(kind: type[BaseModel], place: KeyPath) -> list[str]:
    """The keys that the model at ``place`` below ``kind`` knows; a union's tag picks its member."""
    models = [kind]
    for part in place:
        found = [f.annotation for m in models for name, f in _keys(m).items() if name == part]
        if found:
            models = [inner for annotation in found for inner in _models_in(annotation)]
        elif isinstance(part, str):
            models = [m for m in models if part in _tags(m)] or models
    return sorted({name for model in models for name in _keys(model)})


def _keys(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return the fields of a model by their keys in a file."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _tags(model: type[BaseModel]) -> tuple[Any, ...]:
    """The values by which a union picks the model, in its discriminator."""
    kinds = [model.model_fields[key].annotation for key in _TAGS if key in model.model_fields]
    return tuple(tag for kind in kinds for tag in getattr(kind, "__args__", ()))


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    inner = getattr(annotation, "__args__", ())
    return [model for argument in inner for model in _models_in(argument)]
