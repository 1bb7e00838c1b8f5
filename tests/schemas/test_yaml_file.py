"""Job files that were made to leak or to exhaust, and what a refusal of them says."""

from __future__ import annotations

from pathlib import Path

import pytest

from millrace.schemas.config import Job
from millrace.schemas.errors import JobFileError
from millrace.schemas.yaml_file import load

GOOD = """\
name: tiny
source: {format: parquet, path: input}
key: [id]
contract: {columns: {id: {type: bigint}}}
model: {uri: model}
"""
SECRET = "hunter2 'or' \\ more"


def refused(tmp_path: Path, text: str, env: dict[str, str] | None = None) -> str:
    path = tmp_path / "job.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(JobFileError) as caught:
        load(path, Job, env=env or {})
    return str(caught.value)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("name: tiny", 'name: "${KEY}"'),
        ("format: parquet", 'format: "${KEY}"'),
        ("key: [id]", 'key: ["${KEY}"]'),
        ("type: bigint", 'type: "${KEY}"'),
    ],
)
def test_a_refused_value_from_the_environment_is_told_by_its_variable(
    tmp_path: Path, right: str, wrong: str
) -> None:
    message = refused(tmp_path, GOOD.replace(right, wrong), {"KEY": SECRET})

    assert "hunter2" not in message
    assert "${KEY}" in message


def test_a_value_written_in_the_file_is_told_as_it_is(tmp_path: Path) -> None:
    assert "(got 'Tiny!')" in refused(tmp_path, GOOD.replace("tiny", "Tiny!"), {"KEY": "Tiny!"})


def laughs(levels: int) -> str:
    """A list of nine, nine times over at every level, in a few hundred bytes."""
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    pairs = zip("abcdefgh", "bcdefghi", strict=True)
    lines += [f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]" for old, new in pairs]
    return "\n".join(lines[: levels + 1])


@pytest.mark.parametrize(
    "text",
    [laughs(5), "a: &a [*a]", "a: &a {b: *a}", "[" * 3000 + "]" * 3000, "a: " + "{a: " * 3000],
    ids=["billion laughs", "list in itself", "map in itself", "deep list", "deep map"],
)
def test_a_file_that_would_exhaust_the_reader_is_refused(tmp_path: Path, text: str) -> None:
    assert "too deep or too many values" in refused(tmp_path, text)


def test_an_anchor_used_honestly_is_read(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(GOOD.replace("{type: bigint}", "&t {type: bigint}, more: *t"), "utf-8")

    assert load(path, Job, env={}).contract.columns["more"].type == "bigint"
