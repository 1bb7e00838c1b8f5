"""A suggestion as the first sections of a job file, every rule with the reason for it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from millrace.pipelines.validation.contract_suggestion import Suggestion
from millrace.pipelines.validation.rule_inference import SuggestedColumn
from millrace.schemas.excerpt import shown

_WIDE = 100_000  # no line is folded
_ROWS_LEFT = 0.5  # share of today's rows below which some are missing


def as_yaml(found: Suggestion, folder: Path | None = None) -> str:
    """The text of a job file but for its model: name, source, key and contract.

    ``folder`` is where the file will be, and where its paths start; None: the working directory.
    """
    ending = "# Then name the model and the lake: model: {uri: ...}, output: {path: lake/}"
    return sections(found, folder or Path()) + f"\n{ending}\n"


def sections(
    found: Suggestion, folder: Path, name: str | None = None, key: Sequence[str] = ()
) -> str:
    """Return the text of the sections name, source, key and contract, as `as_yaml` does.

    ``name``: of the job; None: after the source. ``key``: its columns; empty: the suggested one.
    """
    return "\n".join(_lines(found, folder, name, key)) + "\n"


def as_json(found: Suggestion) -> dict[str, Any]:
    """The same as values, with what it was found from."""
    return {
        "source": _source(found),
        "key": [found.key] if found.key else [],
        "contract": {
            **found.contract().model_dump(mode="json", exclude={"expectations"}),
            "expectations": [expectation for expectation, _ in _expectations(found)],
        },
        "reasons": {
            **{one.name: one.why for one in found.columns},
            **{rule.name: rule.why for one in found.columns for rule in one.rules},
        },
        "rows": found.rows,
        "sampled": found.sampled,
        "malformed": found.malformed,
        "left_out": dict(found.left_out),
        "dropped": [vars(one) for one in found.dropped],
    }


def _lines(found: Suggestion, folder: Path, name: str | None, key: Sequence[str]) -> Iterator[str]:
    part = "all of them" if found.sampled >= found.rows - found.malformed else "a sample"
    yield f"# Suggested from {found.sampled:,} of {found.rows:,} rows ({part}), and checked against all."
    yield "# Read it before you use it: it says what the data is like, not what it should be like."
    yield ""
    yield f"name: {name or job_name(found.source.path)}"
    yield ""
    yield "source:"
    for setting, value in _source(found).items():
        at = path_from(folder, value) if setting in ("path", "labels") else value
        yield f"  {setting}: {scalar(at)}"
    if key and [*key] != [found.key]:
        yield f"key: [{', '.join(map(scalar, key))}]  # together they identify a row"
    elif found.key:
        yield f"key: [{scalar(found.key)}]{_comment('no null, and no value twice')}"
    else:
        yield "key: []  # no column is without nulls and repeats: name those that identify a row together"
    yield ""
    yield "contract:"
    yield "  columns:"
    for column in found.columns:
        yield _column_line(column)
    for left_out, kind in found.left_out:
        yield f"    # left out: {shown(left_out)}, {shown(kind)}"
    yield from _rule_lines(found)
    yield "  expectations:"
    for expectation, why in _expectations(found):
        yield f"    #{_comment(why).removeprefix('  #')}"
        yield f"    - {_flow(expectation)}"
    yield ""
    why = "none of today's rows is quarantined"
    if found.malformed:
        why = f"{found.malformed:,} of today's {found.rows:,} records cannot be parsed; twice that"
    yield f"  max_quarantined: {found.max_quarantined}{_comment(why)}"


def _rule_lines(found: Suggestion) -> Iterator[str]:
    rules = [rule for column in found.columns for rule in column.rules]
    yield "  rules:" if rules else "  rules: []"
    for rule in rules:
        yield f"    #{_comment(rule.why).removeprefix('  #')}"
        yield f"    - {{name: {rule.name}, holds: {_text(rule.holds)}, on_null: pass}}"
    for one in found.dropped:
        why = f"dropped: {one.what}, which {one.failed:,} of all {one.rows:,} rows do not keep"
        yield f"    #{_comment(why).removeprefix('  #')}"
    yield ""


def _column_line(column: SuggestedColumn) -> str:
    parts: dict[str, Any] = {"type": column.type}
    parts |= {"from": column.origin} if column.origin else {}
    parts |= {"nullable": column.nullable}
    parts |= {"unique": True} if column.unique else {}
    why = column.why + ("; no value twice" if column.unique else "")
    return f"    {scalar(column.name)}: {_flow(parts)}{_comment(why)}"


def _expectations(found: Suggestion) -> Iterator[tuple[dict[str, Any], str]]:
    """Expectations about the table, each with its reason."""
    least = max(1, int(found.rows * _ROWS_LEFT))
    yield (
        {"expect": "ExpectTableRowCountToBeBetween", "min_value": least},
        f"{found.rows:,} rows today; fewer than half of that, and some are missing",
    )
    for column in found.columns:
        if column.not_null_share:
            about = {"expect": "ExpectColumnValuesToNotBeNull", "column": column.name}
            yield (
                {**about, "mostly": column.not_null_share, "severity": "warning"},
                f"{column.why}; more than twice as many would be a change",
            )


def _source(found: Suggestion) -> dict[str, Any]:
    return found.source.model_dump(mode="json", exclude_defaults=True)


def path_from(folder: Path, path: str) -> str:
    """Return a path of the working directory as one from ``folder``; absolute paths and URIs as they are."""
    if "://" in path or Path(path).is_absolute() or folder.resolve() == Path.cwd().resolve():
        return path
    return os.path.relpath(Path(path).absolute(), folder.resolve())  # links have another way up


def job_name(path: str) -> str:
    """Return the name of a job after its source."""
    name = re.sub(r"[^a-z0-9]+", "-", Path(path.rstrip("/")).name.split(".")[0].lower()).strip("-")
    return (name if name[:1].isalpha() else f"job-{name}")[:60].rstrip("-")


def _flow(parts: dict[str, Any]) -> str:
    return "{" + ", ".join(f"{name}: {scalar(value)}" for name, value in parts.items()) + "}"


def scalar(value: Any) -> str:
    """Return a value as YAML inside of braces; texts without quotes where they need none."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    text = str(value)
    plain = re.fullmatch(r"[A-Za-z_./][A-Za-z0-9_./-]*(?:\(\d+)?", text)
    return text if plain and yaml.safe_load(text) == text else _text(text)


def _text(text: str) -> str:
    """A text in double quotes."""
    dumped = yaml.safe_dump(text, default_style='"', allow_unicode=True, width=_WIDE)
    return dumped.strip().removesuffix("...").strip()


def _comment(text: str) -> str:
    return f"  # {shown(text)}"
