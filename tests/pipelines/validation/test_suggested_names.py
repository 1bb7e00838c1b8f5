"""What ``--suggest`` declares for columns that no table can have under the input's own names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from millrace.pipelines.console.progress import Progress
from millrace.pipelines.validation.contract_file import as_yaml
from millrace.pipelines.validation.contract_suggestion import Suggestion, suggest
from millrace.pipelines.validation.suggested_names import declared_names, unresolved
from millrace.schemas.config import Job
from millrace.schemas.yaml_file import load

PARTS = st.text(st.sampled_from("aAbB ._;1ü"), min_size=1, max_size=4)


def test_awkward_names_are_declared_under_plain_ones() -> None:
    paths = [("id",), ("Order ID",), ("_id",), ("a", "City"), ("a.city",), ("Größe (cm)",), ("_",),
             ("run id",), ("Id no",)]  # fmt: skip
    assert declared_names(paths) == {
        "id": "id", "order_id": "Order ID", "id_2": "_id", "a_city": "a.City", "a_city_2": "a.city",
        "größe_cm": "Größe (cm)", "column_7": "_", "run_id_": "run id", "id_no": "Id no",
    }  # fmt: skip


@given(st.lists(st.lists(PARTS, min_size=1, max_size=3).map(tuple), unique=True, max_size=6))
def test_declared_names_are_different_and_fit_a_table(paths: list[tuple[str, ...]]) -> None:
    found = declared_names(paths)
    plain = [path for path in paths if len(path) == 1 and found.get(path[0]) == path[0]]
    renamed = [name for name in found if (name,) not in plain]
    assert len(found) == len(paths)
    assert len({name.lower() for name in renamed}) == len(renamed)
    assert not {name.lower() for name in renamed} & {path[0].lower() for path in plain}
    assert not set("".join(found)) & set(" ,;{}()\n\t=.`")
    assert not any(name.startswith("_") for name in found)


def test_dots_that_lead_elsewhere_are_noticed() -> None:
    assert unresolved([("a", "b"), ("a.b",), ("c", "d")]) == [("a", "b")]


def suggested(spark: SparkSession, path: Path) -> Suggestion:
    return suggest(spark, str(path), None, 1000, Progress(quiet=True))


def as_job(found: Suggestion, folder: Path) -> Job:
    (folder / "job.yaml").write_text(as_yaml(found), "utf-8")
    return load(folder / "job.yaml", Job, overrides=["model.uri=model"])


@pytest.mark.spark
def test_a_suggestion_names_nested_fields_and_names_with_blanks(
    spark: SparkSession, tmp_path: Path
) -> None:
    rows: list[dict[str, Any]] = [
        {"Order ID": n, "_v": 1, "address": {"city": f"city {n % 3}", "geo": {"lat": n / 8}},
         "mixed": {"a": 1} if n % 2 else 7}
        for n in range(60)
    ]  # fmt: skip
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = suggested(spark, tmp_path / "in.jsonl")
    job = as_job(found, tmp_path)
    origins = {name: origin.name for name, origin in job.contract.origins.items()}
    assert origins == {
        "order_id": "Order ID", "v": "_v", "address_city": "address.city",
        "address_geo_lat": "address.geo.lat",
    }  # fmt: skip
    assert (job.key, found.malformed, found.dropped) == (("order_id",), 0, ())
    assert [name for name, _ in found.left_out] == ["mixed"]

    for row in rows:
        del row["mixed"]
    (tmp_path / "p").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "p" / "in.parquet")
    again = as_job(suggested(spark, tmp_path / "p"), tmp_path)
    assert {name: origin.name for name, origin in again.contract.origins.items()} == origins
    assert again.key == ("order_id",)


@pytest.mark.spark
def test_a_suggestion_for_a_german_file_without_a_header_loads_and_passes(
    spark: SparkSession, tmp_path: Path
) -> None:
    lines = [f"{n};{n + 1}.{n:03},50;Köln {n % 3}" for n in range(60)]
    (tmp_path / "umsatz.csv").write_text("\n".join(lines), "latin-1")
    settings = {"encoding": "latin-1"}
    path, quiet = str(tmp_path / "umsatz.csv"), Progress(quiet=True)
    found = suggest(spark, path, None, 1000, quiet, settings)
    job = as_job(found, tmp_path)
    assert job.source.model_dump(exclude_defaults=True) == {
        "format": "csv", "path": path, "delimiter": ";", "header": False, "decimal": ",",
        "thousands": ".", "encoding": "latin-1",
    }  # fmt: skip
    assert {name: spec.type for name, spec in job.contract.columns.items()} == {
        "column_1": "bigint", "column_2": "double", "column_3": "string",
    }  # fmt: skip
    assert (found.rows, found.malformed, found.dropped) == (60, 0, ())
