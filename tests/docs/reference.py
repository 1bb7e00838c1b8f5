"""``python -m tests.docs.reference``: docs/REFERENCE.md, from what the code itself says of keys, tables and exit codes.

A key's description is the comment beside its field, or the field's own description.
"""

from __future__ import annotations

import inspect
import io
import re
import textwrap
import tokenize
import typing
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from millrace.pipelines.cli import EXIT_CODES, main
from millrace.schemas import tables
from millrace.schemas.config import Job
from millrace.schemas.expectation import Expectation
from millrace.schemas.model import ModelCard
from millrace.schemas.prices import PriceBook

PAGE = Path(__file__).resolve().parents[2] / "docs" / "REFERENCE.md"
ROOTS = {"The job file": Job, "model.yaml": ModelCard, "A price book": PriceBook}
_PLAIN = {"bool": "true, false", "int": "whole number", "float": "number", "Decimal": "number",
          "datetime": "date or time", "Any": "anything"}  # fmt: skip
_HEAD = """\
# Reference

Made from the code by `make reference`; a test holds the two together. Keys that are not listed are refused.
"""


def page() -> str:
    """The page, as Markdown."""
    parts = [_HEAD]
    for title, root in ROOTS.items():
        parts.append(f"## {title}\n")
        parts += [_of_model(model) for model in _models(root)]
    parts += ["## Commands\n", _commands(), "## Exit codes\n", _exit_codes()]
    parts += ["## Tables\n", *(_of_table(table) for table in _tables())]
    parts += ["## Views\n", _views()]
    return "\n".join(parts)


def _models(root: type[BaseModel]) -> list[type[BaseModel]]:
    """A model and those that its fields hold, in the order of mention, each once."""
    found: dict[type[BaseModel], None] = {}
    waiting = [root]
    while waiting:
        model = waiting.pop(0)
        if model not in found:
            found[model] = None
            kinds = typing.get_type_hints(model, include_extras=True)
            waiting += [part for name in model.model_fields for part in _parts(kinds[name])]
    return list(found)


def _parts(kind: Any) -> Iterator[type[BaseModel]]:
    if inspect.isclass(kind) and issubclass(kind, BaseModel):
        yield kind
    for part in typing.get_args(kind):
        yield from _parts(part)


def _of_model(model: type[BaseModel]) -> str:
    about = inspect.cleandoc(model.__doc__ or "").replace("``", "`")
    rows = ["| key | type | default | |", "|---|---|---|---|"]
    comments = _comments(model)
    for name, field in model.model_fields.items():
        told = field.description or comments.get(name, "")
        default = "" if field.is_required() else _default(field)
        key = field.alias or name
        rows.append(f"| `{key}` | {_type(model, name)} | {default} | {_cell(told)} |")
    more = "\nEvery other key is an argument of that class.\n" if model is Expectation else ""
    return f"### {model.__name__}\n\n{about}\n\n" + "\n".join(rows) + f"\n{more}"


def _type(model: type[BaseModel], name: str) -> str:
    kind = typing.get_type_hints(model, include_extras=True)[name]
    return _cell(f"{_named(kind)}{_limits(model.model_fields[name])}")


def _named(kind: Any) -> str:
    """How a reader of YAML would call a type."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    told = "text" if kind is str else _PLAIN.get(getattr(kind, "__name__", ""), str(kind))
    if origin is typing.Annotated:
        told = _named(args[0])
    elif origin is typing.Literal:
        told = ", ".join(f"`{value}`" for value in args)
    elif origin is tuple:
        told = f"list of {_named(args[0])}"
        if args[-1] is not Ellipsis:
            told = "[" + ", ".join(map(_named, args)) + "]"
    elif origin is dict:
        told = f"name: {_named(args[1])}"
    elif args:  # a union
        told = " or ".join(_named(part) for part in args if part is not type(None))
    elif inspect.isclass(kind) and issubclass(kind, BaseModel):
        told = f"[{kind.__name__}](#{kind.__name__.lower()})"
    return told


def _limits(field: FieldInfo) -> str:
    words = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "min_length": "length >="}
    found = [
        f"{words[name]} {value:,}"
        for limit in field.metadata
        for name in words
        if (value := getattr(limit, name, None)) is not None
    ]
    return f" ({', '.join(found)})" if found else ""


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "its defaults"
    if value in (None, (), {}, ""):
        return "none" if value is None else "empty"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _comments(model: type[BaseModel]) -> dict[str, str]:
    """By field, the comment beside its definition, or on the lines just above it."""
    source = textwrap.dedent(inspect.getsource(model))
    field, above, found = "", "", dict[str, str]()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        alone = token.line.lstrip().startswith("#")
        if token.type == tokenize.COMMENT and not token.string.startswith("# noqa"):
            words = token.string.lstrip("# ")
            if alone:
                above = f"{above} {words}".strip()
            elif field:
                found[field] = f"{found.get(field, '')} {words}".strip()
        elif (started := re.match(r"    (\w+): .*", token.line)) and token.string == started[1]:
            field, above, found[token.string] = token.string, "", above
    return found


def _commands() -> str:
    rows = ["| command | options | does |", "|---|---|---|"]
    for name, command in _all_commands(main, ""):
        options = [o for o in command.params if isinstance(o, click.Option) and o.name != "help"]
        told = ", ".join(f"`{option.opts[0]}`" for option in options)
        wanted = "".join(f" {p.human_readable_name}" for p in command.params
                         if isinstance(p, click.Argument))  # fmt: skip
        rows.append(f"| `millrace {name}{wanted}` | {told} | {command.get_short_help_str(200)} |")
    return "\n".join(rows) + "\n"


def _all_commands(group: click.Group, before: str) -> Iterator[tuple[str, click.Command]]:
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from _all_commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def _exit_codes() -> str:
    text = " ".join(EXIT_CODES.removeprefix("\b").split()).removeprefix("Exit codes: ")
    rows = [part.strip(" .").split(" ", 1) for part in text.split(";")]
    told = [f"| {code} | {meaning} |" for code, meaning in rows]
    return "\n".join(["| code | means |", "|---|---|", *told]) + "\n"


def _tables() -> list[tables.Table]:
    found = [value for value in vars(tables).values() if isinstance(value, tables.Table)]
    return sorted(found, key=lambda table: table.name)


def _of_table(table: tables.Table) -> str:
    rows = ["| column | type | |", "|---|---|---|"]
    rows += [f"| `{c.name}` | {_cell(f'`{c.type}`')} | {_cell(c.comment)} |" for c in table.columns]
    return f"### {table.name}\n\nA row is {table.row_is}.\n\n" + "\n".join(rows) + "\n"


def _views() -> str:
    rows = ["| view | a row is |", "|---|---|"]
    for entry in sorted(
        (files("millrace.schemas") / "views").iterdir(), key=lambda entry: entry.name
    ):
        lines = entry.read_text("utf-8").splitlines()
        told = " ".join(line.removeprefix("--").strip() for line in lines if line.startswith("--"))
        name = entry.name.removesuffix(".sql").replace("job_current", "<job>_current")
        rows.append(f"| `{name}` | {_cell(told.split('. ')[0].rstrip('.'))} |")
    return "\n".join(rows) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
