"""Input and jobs that are almost right: each would pass silently, or end a run for one row's sake."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from millrace.pipelines.inference.deduplication import choose_reuse
from millrace.pipelines.inference.inference_config import native
from millrace.pipelines.inference.scoring import plan_of
from millrace.pipelines.job.model_check import VerifiedModel, verified_model
from millrace.pipelines.job.prepared_job import prepare
from millrace.pipelines.lake import live_rows
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.query.engine import query
from millrace.schemas.config import Job
from millrace.schemas.errors import InputCorrupt, MillraceError, ModelError
from millrace.schemas.summary import RunSummary
from tests.helpers import (
    image_cnn,
    image_table,
    images,
    job_of,
    pixel_mlp,
    tiny_bert,
    write_parquet,
)

pytestmark = pytest.mark.spark
Score = Callable[[Job], RunSummary]
COLUMNS = {
    "id": {"type": "bigint", "nullable": False, "unique": True},
    "pixels": {"type": "binary", "nullable": False},
}


NO_RUN: Any = None  # reuse_of asks a run only to measure what dedupe would save


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("classifier"), "classify")


def contract(*rules: str, **columns: dict[str, Any]) -> dict[str, Any]:
    named = [{"name": f"rule_{i}", "holds": holds} for i, holds in enumerate(rules)]
    return {"columns": {**COLUMNS, **columns}, "rules": named, "max_quarantined": 1.0}


def identities(spark: SparkSession, job: Job) -> tuple[str, str]:
    """The fingerprint of the job's run, and what its cached outputs were computed with."""
    prepared = prepare(spark, job)
    cache = choose_reuse(spark, prepared, NO_RUN, native(prepared)).cache
    assert cache is not None
    return prepared.fingerprint, cache.computed_with


@pytest.mark.parametrize(
    ("option", "values"),
    [("quote", ["", '"']), ("null", ["", "NA"]), ("encoding", ["utf-8", "latin-1"])],
)
def test_how_a_text_file_is_read_is_part_of_the_fingerprint(
    spark: SparkSession, classifier: Path, tmp_path: Path, option: str, values: list[str]
) -> None:
    (tmp_path / "in.csv").write_text("text\nNA\n")
    columns = {"columns": {"text": {"type": "string"}}}

    def fingerprint(value: str) -> str:
        source = {"format": "csv", "path": str(tmp_path / "in.csv"), option: value}
        job = job_of(tmp_path, classifier, source=source, key=["text"], contract=columns)
        return prepare(spark, job).fingerprint

    assert fingerprint(values[0]) == fingerprint(values[0])
    assert fingerprint(values[0]) != fingerprint(values[1])


def test_how_pictures_are_decoded_is_part_of_the_fingerprint_and_of_the_caches_key(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"")
    source = {"format": "images", "path": str(tmp_path / "in")}
    columns = {"columns": {"path": {"type": "string"}, "content": {"type": "binary"}}}
    more = {"key": ["path"], "contract": columns, "engine": {"cache": "table"}}
    job = job_of(tmp_path, image_cnn(tmp_path / "m"), source=source, **more)

    now = identities(spark, job)
    # A version of Millrace with other defaults, and the same card.
    monkeypatch.setattr(VerifiedModel, "decoded_as", {"orientation": "stored"})
    then = identities(spark, job)

    assert [one == other for one, other in zip(now, then, strict=True)] == [False, False]


def test_a_text_model_takes_up_neither_runs_nor_cached_outputs_of_a_version_with_other_tokens(
    spark: SparkSession, classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in.csv").write_text("text\nNA\n")
    source = {"format": "csv", "path": str(tmp_path / "in.csv")}
    columns = {"columns": {"text": {"type": "string"}}}
    more = {"key": ["text"], "contract": columns, "engine": {"cache": "table"}}
    job = job_of(tmp_path, classifier, source=source, **more)

    now = identities(spark, job)
    monkeypatch.setattr(
        VerifiedModel, "computed_as", {}
    )  # as the version before, with the same card
    then = identities(spark, job)

    assert [one == other for one, other in zip(now, then, strict=True)] == [False, False]


@pytest.mark.parametrize(
    ("options", "differs"), [({"scale": 0.5}, False), ({"scale": 0.5, "mean": [0.5]}, True)]
)
def test_a_card_with_a_mean_which_earlier_versions_ignored_is_computed_anew(
    tmp_path: Path, options: dict[str, Any], differs: bool
) -> None:
    folder = pixel_mlp(tmp_path / "m", preprocess={"name": "pixels", "options": options})

    assert bool(verified_model(job_of(tmp_path, folder)).computed_as) == differs


def test_a_kept_column_of_a_type_that_no_table_has_is_refused_by_name(
    score: Score, model: Path, tmp_path: Path
) -> None:
    column = pa.array([[("a", 1)]] * 2, pa.map_(pa.string(), pa.int32()))
    write_parquet(tmp_path / "input", image_table(images(2)).append_column("odd", column))

    with pytest.raises(MillraceError, match="odd") as refused:
        score(job_of(tmp_path, model, keep=["odd"]))

    assert refused.value.exit_code in (2, 3)


def test_a_kept_column_that_differs_from_an_output_by_case_is_refused_before_anything_is_read(
    spark: SparkSession, model: Path, tmp_path: Path
) -> None:
    write_parquet(
        tmp_path / "input", image_table(images(2)).append_column("Label", pa.array([1, 2]))
    )

    with pytest.raises(ModelError, match="label"):
        prepare(spark, job_of(tmp_path, model, keep=["Label"]))


def test_one_flipped_bit_in_a_page_with_a_checksum_is_found(
    score: Score, model: Path, tmp_path: Path
) -> None:
    pixels = images(50)
    write_parquet(tmp_path / "input", image_table(pixels[:25]))
    bad = tmp_path / "input" / "part-9.parquet"
    pq.write_table(
        image_table(pixels[25:], range(25, 50)), bad,
        compression="none", use_dictionary=False, write_page_checksum=True,
    )  # fmt: skip
    content = bytearray(bad.read_bytes())
    content[content.index(pixels[30]) + 3] ^= 1
    bad.write_bytes(bytes(content))

    with pytest.raises(InputCorrupt, match=r"part-9\.parquet"):
        score(job_of(tmp_path, model))

    assert not (tmp_path / "lake" / "predictions_tiny").exists()


VALUES: dict[str, tuple[str, pa.DataType, list[Any]]] = {
    "a_bool": ("boolean", pa.bool_(), [True, None]),
    "a_byte": ("tinyint", pa.int8(), [-128, None]),
    "a_short": ("smallint", pa.int16(), [-(2**15), None]),
    "an_int": ("int", pa.int32(), [-(2**31), None]),
    "a_long": ("bigint", pa.int64(), [2**63 - 1, None]),
    "a_float": ("float", pa.float32(), [float("inf"), None]),
    "a_double": ("double", pa.float64(), [1e-320, None]),
    "a_text": ("string", pa.string(), ["😀 שלום \u202e\n\t", ""]),
    "some_bytes": ("binary", pa.binary(), [b"\x00\xff", None]),
    "a_day": ("date", pa.date32(), [dt.date(2024, 2, 29), dt.date(1, 1, 1)]),
    "a_moment": (
        "timestamp", pa.timestamp("us", "UTC"), [dt.datetime(2024, 2, 29, 23, 59, 59, 999999, dt.UTC), None],
    ),
    "a_local": ("timestamp_ntz", pa.timestamp("us"), [dt.datetime(2024, 10, 27, 2, 30), None]),  # noqa: DTZ001
    "a_price": ("decimal(38,18)", pa.decimal128(38, 18), [Decimal("12345678901234567890.000000000000000001"), None]),
    "a_list": ("array<double>", pa.list_(pa.float64()), [[1.5, None], None]),
    "a_struct": ("struct<N:int,s:string>", pa.struct([("N", pa.int32()), ("s", pa.string())]), [{"N": 1, "s": "é"}, None]),
}  # fmt: skip


@pytest.mark.parametrize("surface", ["arrow", "pandas"])
def test_kept_values_of_every_type_survive_and_two_delta_readers_agree(
    spark: SparkSession, score: Score, model: Path, tmp_path: Path, surface: str
) -> None:
    table = image_table(images(2))
    for name, (_, kind, values) in VALUES.items():
        table = table.append_column(name, pa.array(values, kind))
    write_parquet(tmp_path / "input", table)
    declared = {name: {"type": sql} for name, (sql, _, _) in VALUES.items()}

    score(
        job_of(
            tmp_path,
            model,
            keep=list(VALUES),
            contract=contract(**declared),
            engine={"surface": surface},
        )
    )

    place = str(tmp_path / "lake" / "predictions_tiny")
    by_rust = live_rows.rows(deltalake.DeltaTable(place)).sort_by("id").select(list(VALUES))
    assert by_rust.to_pylist() == table.select(list(VALUES)).to_pylist()
    by_spark = spark.read.format("delta").load(place).orderBy("id").select(*VALUES).toArrow()
    assert by_spark.to_pylist() == table.select(list(VALUES)).to_pylist()


def test_what_is_refused_can_be_read_back_from_its_json_whatever_it_holds(
    score: Score, model: Path, tmp_path: Path
) -> None:
    table = image_table([None, None], [1, 2])
    table = table.append_column("x", pa.array([float("nan"), float("-inf")]))
    table = table.append_column("text", pa.array(['"\\ 😀 \u0000 שלום', "</script>"]))
    write_parquet(tmp_path / "input", table)
    extra = contract(x={"type": "double"}, text={"type": "string"})

    score(job_of(tmp_path, model, contract=extra))

    found = query(
        LakeLocation(tmp_path / "lake"), "SELECT payload FROM quarantine ORDER BY key"
    ).to_pylist()
    payloads = [json.loads(row["payload"]) for row in found]
    assert [p["text"] for p in payloads] == ['"\\ 😀 \u0000 שלום', "</script>"]
    assert [str(p["x"]) for p in payloads] == ["NaN", "-Infinity"]
    assert [p["pixels"] for p in payloads] == [None, None]


def test_names_with_quotes_dots_and_letters_of_any_script_are_fine_everywhere(
    score: Score, model: Path, tmp_path: Path
) -> None:
    names = ["a.b", "größe", "a`b", "a'b"]
    table = image_table([*images(2), None])
    for name in names:
        table = table.append_column(name, pa.array(["x", "y", "z"]))
    write_parquet(tmp_path / "input", table)
    columns = {name: {"type": "string", "unique": True} for name in names}
    rules = contract("`a.b` <> '' AND `größe` <> '' AND `a``b` <> ''", **columns)

    summary = score(job_of(tmp_path, model, contract=rules, key=["id", "a.b"], keep=names[1:]))

    assert (summary.scored, summary.quarantined) == (2, 1)


@pytest.mark.xfail(strict=True, reason="the table's name has an underscore for a dash")
def test_two_jobs_whose_names_differ_by_a_dash_do_not_share_a_table(
    tmp_path: Path, model: Path
) -> None:
    tables = {job_of(tmp_path, model, name=name).table for name in ("a-b", "a_b")}

    assert len(tables) == 2


def test_of_a_job_that_redacts_what_its_model_reads_no_error_quotes_a_row(
    spark: SparkSession, model: Path, tmp_path: Path
) -> None:
    write_parquet(tmp_path / "input", image_table(images(2)))
    hides = {}
    for redact in ((), ("pixels",)):
        job = job_of(tmp_path, model, contract={"columns": COLUMNS, "redact": list(redact)})
        hides[redact] = plan_of(job, prepare(spark, job).model, None).hides_values
    assert hides == {(): False, ("pixels",): True}
