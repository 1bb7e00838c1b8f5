"""The page about SQL: its five questions have the same answers in every place that it names."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from millrace.pipelines.api.spark_sql import fetch, with_model
from millrace.pipelines.job.prepared_job import prepare
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.lake.runs import RunSummary
from millrace.pipelines.query.engine import query
from millrace.schemas.config import Job
from tests.clusters import listens, wait_for
from tests.docs.test_snippets import Block, blocks, commands, run
from tests.helpers import image_table, images, job_of, torch_loop, write_parquet

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "SQL.md"
TITLED: dict[str, Block] = {block.title: block for block in blocks(PAGE) if block.title}
QUESTIONS = [
    "\n".join(line for line in part.splitlines() if not line.startswith("--")).strip()
    for part in TITLED["five.sql"].text.split(";")
    if part.strip()
]
ROWS = 40
Answer = list[tuple[Any, ...]]
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:E-?\d+)?")

pytestmark = [pytest.mark.spark]


@pytest.fixture(scope="module")
def job(
    score: Callable[[Job], RunSummary], model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Job:
    """A job named digits, that has run: 40 images, of which two have no id."""
    folder = tmp_path_factory.mktemp("asked")
    table = image_table(images(ROWS))
    ids = pa.array([None, None, *range(2, ROWS)], pa.int64())
    write_parquet(folder / "input", table.set_column(0, table.schema.field(0), ids))
    job = job_of(folder, model, name="digits", engine={"precision": "fp32", "backend": "torch"})
    assert score(job).quarantined == 2
    return job


@pytest.fixture(scope="module")
def answers(job: Job) -> list[Answer]:
    """What ``millrace sql`` answers, none of it nothing."""
    found = [same(query(LakeLocation(Path(job.output.path)), question)) for question in QUESTIONS]
    assert len(found) == 5
    assert all(found)
    assert found[3][0][1:] == (ROWS, ROWS - 2, 2, 0)
    return found


def test_spark_answers_the_same(spark: SparkSession, job: Job, answers: list[Answer]) -> None:
    lake = Path(job.output.path)
    assert [same(fetch(spark, LakeLocation(lake), question)) for question in QUESTIONS] == answers


@pytest.mark.parametrize("engine", ["duckdb", "polars"])
def test_engines_that_read_delta_answer_the_same(
    engine: str, job: Job, answers: list[Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(job.output.path).parent)
    names: dict[str, Any] = {}

    exec(TITLED[f"with_{engine}.py"].text, names)

    assert [same(names["answer"](question)) for question in QUESTIONS] == answers


def test_labels_outside_of_the_lake_are_joined_as_the_page_says(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(job.output.path).parent)
    made = query(
        LakeLocation(Path(job.output.path)), "SELECT id, label FROM predictions_digits"
    ).to_pylist()
    labels = [(row["id"], row["label"] if at else row["label"] + 1) for at, row in enumerate(made)]
    Path("labels.csv").write_text(
        "id,digit\n" + "".join(f"{key},{digit}\n" for key, digit in labels)
    )
    names: dict[str, Any] = {}

    exec(TITLED["with_labels.py"].text, names)

    assert names["accuracy"] == [(pytest.approx(1 - 1 / len(made)), len(made))]


def test_the_model_is_a_function_of_sql(spark: SparkSession, job: Job) -> None:
    with_model(spark, prepare(spark, job))
    try:
        found = fetch(
            spark,
            LakeLocation(Path(job.output.path)),
            "SELECT i.id, classify(i.pixels).label AS label, p.label AS kept "
            "FROM input AS i JOIN predictions_digits AS p ON i.id = p.id ORDER BY i.id",
        ).to_pylist()
    finally:
        spark.catalog.dropTempView("input")

    expected = torch_loop(Path(job.model.uri), images(ROWS))[0].tolist()[2:]
    assert [row["label"] for row in found] == [row["kept"] for row in found] == expected


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_registered_tables_answer_the_same_in_spark_sql_and_over_jdbc(
    job: Job, answers: list[Answer], tmp_path: Path
) -> None:
    (tmp_path / "five.sql").write_text(TITLED["five.sql"].text)
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    (tmp_path / "lake").symlink_to(Path(job.output.path).absolute())
    of_registering = next(
        commands(block) for block in blocks(PAGE) if "millrace register" in block.text
    )
    registered, by_spark_sql = of_registering
    server, by_jdbc = commands(TITLED["server"])
    server = [os.path.expandvars(word) for word in server]

    assert "cost_by_run" in run(registered, tmp_path).stdout
    printed = of_spark(by_spark_sql, tmp_path)
    assert told(line.split("\t") for line in printed.splitlines()) == texts(answers)
    with served(server, tmp_path):
        printed = of_spark(by_jdbc, tmp_path)
    printed = re.sub(
        r"^(?:null\s*)+", "", printed, flags=re.MULTILINE
    )  # beeline's word for a comment
    lines = [line for line in csv.reader(io.StringIO(printed)) if line]
    heads = [["label", "n"], ["kind", "cost"], ["rule", "checked", "failed"],
             ["run_id", "rows_read", "scored", "quarantined", "failed"], ["unit", "slot_ms"]]  # fmt: skip
    assert told(line for line in lines if line not in heads) == texts(answers)


def of_spark(words: list[str], folder: Path) -> str:
    done = subprocess.run(
        [program(words[0]), *words[1:]], cwd=folder, env=environment(folder),
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr[-3000:]}"
    return done.stdout


@contextmanager
def served(words: list[str], folder: Path) -> Iterator[None]:
    """The Thrift server, from when it listens."""
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(
            [program(words[0]), *words[1:]],
            cwd=folder, env=environment(folder), stdout=log, stderr=log,
        )  # fmt: skip
        try:
            wait_for(lambda: listens(10_000) or server.poll() is not None)
            assert server.poll() is None, (folder / "server.log").read_text()[-3000:]
            yield
        finally:
            server.terminate()
            server.wait(60)


def program(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYSPARK_")}
    return {**kept, "PYSPARK_PYTHON": sys.executable, "TMPDIR": str(folder)}


def same(table: pa.Table) -> Answer:
    """Rows as tuples; a whole number is an int, whatever type the engine gives it."""
    return [tuple(plain(value) for value in row.values()) for row in table.to_pylist()]


def plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return value.normalize()
    return int(value) if isinstance(value, int) else value


def texts(answers: list[Answer]) -> list[list[str]]:
    """As a terminal has them."""
    return [[written(value) for value in row] for answer in answers for row in answer]


def told(rows: Iterable[list[str]]) -> list[list[str]]:
    """What a terminal printed; 0.50 and 5E-1 are 0.5."""
    return [
        [written(Decimal(c).normalize()) if NUMBER.fullmatch(c) else c for c in row] for row in rows
    ]


def written(value: Any) -> str:
    return f"{value:f}" if isinstance(value, Decimal) else str(value)
