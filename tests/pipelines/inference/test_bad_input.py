"""What bad input gets: a reason, never silence."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pyspark.sql import SparkSession

from millrace.pipelines.inference import scoring
from millrace.pipelines.job.prepared_job import prepare
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.query.engine import query
from millrace.pipelines.spark.error_translation import translated
from millrace.schemas.config import Job
from millrace.schemas.errors import (
    GateRefused,
    InputCorrupt,
    ModelError,
    OutputMismatch,
    RunFailed,
    SchemaMismatch,
    UsageError,
)
from millrace.schemas.summary import RunSummary
from millrace.udfs.runtime.plan import Runtime, Scorer
from tests.helpers import (
    image_cnn,
    image_table,
    images,
    job_of,
    loaded,
    pixel_mlp,
    rows,
    tiny_bert,
    vector_mlp,
    write_parquet,
)

pytestmark = pytest.mark.spark
Score = Callable[[Job], RunSummary]
HARD_TEXTS = [
    "😀🏽‍🚀",
    "שלום עולם",
    "مرحبا",
    "a\u202eb",
    "line\nbreak",
    "'quoted\"",
    "\\",
    "x" * 1_000_000,
]


def counts(summary: RunSummary) -> tuple[int, int, int, int]:
    return summary.rows_read, summary.scored, summary.quarantined, summary.failed


def test_a_path_that_is_not_there(score: Score, model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="input") as missing:
        score(job_of(tmp_path, model))
    assert missing.value.exit_code == 2


@pytest.mark.parametrize("files", [0, 1])
def test_no_rows_is_a_run_of_no_rows(score: Score, model: Path, tmp_path: Path, files: int) -> None:
    (tmp_path / "input").mkdir()
    if files:
        write_parquet(tmp_path / "input", image_table([]))

    summary = score(job_of(tmp_path, model))

    assert counts(summary) == (0, 0, 0, 0)
    assert summary.state == "done"
    for table in ("tiny_current", "quarantine", "ledger", "validations"):
        query(LakeLocation(tmp_path / "lake"), f"SELECT * FROM {table}")


def test_one_row(score: Score, model: Path, tmp_path: Path) -> None:
    write_parquet(tmp_path / "input", image_table(images(1)))
    assert counts(score(job_of(tmp_path, model))) == (1, 1, 0, 0)


def test_a_cell_of_a_hundred_megabytes_fails_alone_and_is_no_trouble_where_it_is_refused(
    score: Score, model: Path, tmp_path: Path
) -> None:
    pixels = [*images(20), b"\1" * 100_000_000, *images(20, seed=1)]
    write_parquet(tmp_path / "input", image_table(pixels))
    job = job_of(tmp_path, model)
    assert counts(score(job)) == (41, 40, 0, 1)
    failed = rows(
        tmp_path / "lake", "SELECT id, error FROM predictions_tiny WHERE error IS NOT NULL"
    )
    assert [(row["id"], row["error"]["kind"]) for row in failed] == [(20, "decode")]

    columns = {"id": {"type": "bigint"}, "pixels": {"type": "binary"}}
    rule = {"name": "not_huge", "holds": "length(pixels) < 1000000"}
    contract = {"columns": columns, "rules": [rule], "max_quarantined": 1.0}
    assert counts(score(job_of(tmp_path, model, contract=contract))) == (41, 40, 1, 0)
    (refused,) = rows(tmp_path / "lake", "SELECT payload FROM quarantine")
    digest = hashlib.sha256(pixels[20]).hexdigest()[:16]
    told = json.loads(refused["payload"])["pixels"]
    assert told == f"100000000 bytes, sha256 {digest}, binary"


def test_a_truncated_parquet_file_among_good_ones_is_named(
    score: Score, model: Path, tmp_path: Path
) -> None:
    write_parquet(tmp_path / "input", image_table(images(30)), files=3)
    bad = tmp_path / "input" / "part-1.parquet"
    bad.write_bytes(bad.read_bytes()[:-20])

    with pytest.raises(InputCorrupt, match=r"part-1\.parquet") as corrupt:
        score(job_of(tmp_path, model))

    assert corrupt.value.exit_code == 5
    assert not list((tmp_path / "lake").glob("predictions_tiny/_delta_log/*.json"))


def test_a_damaged_page_behind_a_good_footer_is_named_and_nothing_is_committed(
    score: Score, model: Path, tmp_path: Path
) -> None:
    write_parquet(tmp_path / "input", image_table(images(300)), files=3)
    bad = tmp_path / "input" / "part-2.parquet"
    content = bytearray(bad.read_bytes())
    content[4:60] = b"\xff" * 56
    bad.write_bytes(bytes(content))

    with pytest.raises(InputCorrupt) as corrupt:
        score(job_of(tmp_path, model))

    assert "part-2.parquet" in str(corrupt.value)
    assert not list((tmp_path / "lake").glob("predictions_tiny/_delta_log/*.json"))


def test_a_model_whose_digest_is_wrong(score: Score, tmp_path: Path) -> None:
    folder = pixel_mlp(tmp_path / "model")
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x00")
    write_parquet(tmp_path / "input", image_table(images(3)))

    with pytest.raises(ModelError, match="sha256") as wrong:
        score(job_of(tmp_path, folder))
    assert wrong.value.exit_code == 2


def test_a_model_that_is_swapped_after_the_check_fails_in_the_worker(
    spark: SparkSession, tmp_path: Path
) -> None:
    folder = pixel_mlp(tmp_path / "model")
    write_parquet(tmp_path / "input", image_table(images(3)))
    job = job_of(tmp_path, folder)
    prepared = prepare(spark, job)
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x00")
    scorer = Scorer(
        folder,
        prepared.model.digest,
        Runtime("cpu"),
        scoring.plan_of(job, prepared.model, 8),
        "",
        0.0,
    )
    accepted = scoring.accepted(
        spark.read.parquet(str(tmp_path / "input")), prepared.rules, job, prepared.model
    )

    with (
        pytest.raises(RunFailed, match=r"weights\.safetensors") as failed,
        translated(Path("the log")),
    ):
        scoring.scored(accepted, job, prepared.contract, prepared.model, scorer).collect()
    assert failed.value.exit_code == 5


def test_an_output_that_does_not_fit_the_signature(score: Score, tmp_path: Path) -> None:
    wide = {"type": "array<float>", "shape": [99]}
    outputs = {"label": {"type": "bigint"}, "probabilities": wide}
    folder = pixel_mlp(tmp_path / "model", outputs=outputs)
    write_parquet(tmp_path / "input", image_table(images(40)))

    with pytest.raises(OutputMismatch, match="probabilities") as mismatch:
        score(job_of(tmp_path, folder))
    assert mismatch.value.exit_code == 5
    assert "99" in str(mismatch.value.allowed)
    assert not list((tmp_path / "lake").glob("predictions_tiny/_delta_log/*.json"))


def test_a_model_that_reads_what_the_contract_lacks_is_refused_with_the_columns(
    score: Score, tmp_path: Path
) -> None:
    folder = vector_mlp(tmp_path / "model")
    write_parquet(tmp_path / "input", image_table(images(3)))

    with pytest.raises(ModelError, match="does not fit the contract") as unfit:
        score(job_of(tmp_path, folder))
    assert "the contract does not declare it" in str(unfit.value.got)


def test_long_and_foreign_texts_survive_in_keys_and_payloads(
    spark: SparkSession, score: Score, tmp_path: Path
) -> None:
    folder = tiny_bert(tmp_path / "model", "embed")
    (column,) = loaded(folder).card.signature.inputs
    table = pa.table({"key": HARD_TEXTS, column: HARD_TEXTS[::-1], "note": HARD_TEXTS})
    write_parquet(
        tmp_path / "input",
        pa.concat_tables(
            [
                table,
                pa.table({"key": ["no text"], column: [None], "note": ["😀"]}, schema=table.schema),
            ]
        ),
    )
    text = {"type": "string"}
    contract = {
        "columns": {
            "key": text | {"nullable": False},
            column: text | {"nullable": False},
            "note": text,
        },
        "max_quarantined": 1.0,
    }

    summary = score(job_of(tmp_path, folder, key=["key"], keep=["note"], contract=contract))

    assert counts(summary) == (9, 8, 1, 0)
    lake = tmp_path / "lake"
    read = {row["key"]: row["note"] for row in rows(lake, "SELECT key, note FROM tiny_current")}
    assert read == dict(zip(HARD_TEXTS, HARD_TEXTS, strict=True))
    by_spark = (
        spark.read.format("delta")
        .load(str(lake / "predictions_tiny"))
        .select("key", "note")
        .collect()
    )
    assert {row.key: row.note for row in by_spark} == read
    (refused,) = rows(lake, "SELECT key, payload FROM quarantine")
    assert json.loads(refused["payload"]) == {"key": "no text", column: None, "note": "😀"}


def test_a_text_that_is_not_utf_8_fails_alone(score: Score, tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "model", "embed")
    texts = pa.array([b"good", b"\xff\xfe", b"bad"], pa.binary()).view(pa.string())
    write_parquet(tmp_path / "input", pa.table({"id": [0, 1, 2], "text": texts}))
    contract = {"columns": {"id": {"type": "bigint"}, "text": {"type": "string"}}}

    summary = score(job_of(tmp_path, folder, contract=contract))

    assert counts(summary) == (3, 2, 0, 1)
    (failed,) = rows(
        tmp_path / "lake", "SELECT id, error FROM predictions_tiny WHERE error IS NOT NULL"
    )
    assert failed["id"] == 1
    assert failed["error"]["message"] == "not UTF-8: invalid start byte at byte 0"


def renamed(table: pa.Table, names: list[str]) -> pa.Table:
    return table.rename_columns(names)


@pytest.mark.parametrize(
    ("table", "verdict"),
    [
        (image_table(images(2)).drop_columns(["pixels"]), "missing"),
        (renamed(image_table(images(2)), ["id", "Pixels"]), "Pixels"),
        (pa.table({"id": pa.array([1], pa.int32()), "pixels": pa.array([b"x" * 16])}), "int"),
    ],
    ids=["missing", "another case", "retyped"],
)
def test_columns_that_are_not_as_declared_are_refused_with_both_schemas(
    score: Score, model: Path, tmp_path: Path, table: pa.Table, verdict: str
) -> None:
    write_parquet(tmp_path / "input", table)

    with pytest.raises(SchemaMismatch) as mismatch:
        score(job_of(tmp_path, model))

    assert mismatch.value.exit_code == 3
    assert verdict in str(mismatch.value)
    assert "bigint" in str(mismatch.value.got)


def test_a_kept_column_that_is_not_declared_has_the_type_of_the_input(
    score: Score, model: Path, tmp_path: Path
) -> None:
    table = image_table(images(2)).append_column("price", pa.array([1.5, None], pa.float32()))
    write_parquet(tmp_path / "input", table)

    score(job_of(tmp_path, model, keep=["price"]))

    found = query(LakeLocation(tmp_path / "lake"), "SELECT price FROM tiny_current ORDER BY id")
    assert found.schema.field("price").type == pa.float32()
    assert found["price"].to_pylist() == [1.5, None]
    with pytest.raises(UsageError, match="no such column to keep: prize; did you mean 'price'"):
        score(job_of(tmp_path, model, keep=["prize"]))


def test_values_that_are_not_finite_fail_their_row_alone(score: Score, tmp_path: Path) -> None:
    folder = vector_mlp(tmp_path / "model")
    (column,) = loaded(folder).card.signature.inputs
    vectors = [
        [0.0, 1.0, 2.0, 3.0],
        [float("nan"), 0, 0, 0],
        [float("inf"), 0, 0, 0],
        [1.0, 2.0],
        [1.0] * 4,
    ]
    table = pa.table({"id": range(5), column: pa.array(vectors, pa.list_(pa.float64()))})
    write_parquet(tmp_path / "input", table)
    contract = {"columns": {"id": {"type": "bigint"}, column: {"type": "array<double>"}}}

    summary = score(job_of(tmp_path, folder, contract=contract))

    assert counts(summary) == (5, 2, 0, 3)
    failed = rows(
        tmp_path / "lake",
        "SELECT id, error, embedding FROM predictions_tiny WHERE error IS NOT NULL ORDER BY id",
    )
    assert [row["id"] for row in failed] == [1, 2, 3]
    assert {row["error"]["kind"] for row in failed} == {"decode"}
    assert {row["embedding"] for row in failed} == {None}
    assert [
        row["id"] for row in rows(tmp_path / "lake", "SELECT id FROM tiny_current ORDER BY id")
    ] == [0, 4]


CSV = 'text\n"good, with a comma"\ntoo,many\n"two\nlines"\n"never closed\n'


def csv_job(tmp_path: Path, folder: Path, share: float) -> Job:
    (tmp_path / "texts.csv").write_text(CSV)
    contract = {
        "columns": {
            "at": {"type": "bigint", "unique": True},
            "text": {"type": "string", "nullable": False},
        },
        "max_quarantined": share,
    }
    source = {"format": "csv", "path": str(tmp_path / "texts.csv"), "line": "at"}
    return job_of(tmp_path, folder, source=source, key=["at"], contract=contract)


def test_csv_lines_that_do_not_parse_are_quarantined_by_file_and_line(
    score: Score, tmp_path: Path
) -> None:
    folder = tiny_bert(tmp_path / "model", "embed")

    summary = score(csv_job(tmp_path, folder, 0.9))

    assert counts(summary) == (4, 2, 2, 0)
    lake = tmp_path / "lake"
    assert [row["at"] for row in rows(lake, "SELECT at FROM tiny_current ORDER BY at")] == [2, 4]
    refused = rows(lake, "SELECT key, reasons FROM quarantine ORDER BY key")
    assert [json.loads(row["key"])["at"] for row in refused] == [3, 6]
    told = [[(r["rule"], r["message"].split(": ")[0]) for r in row["reasons"]] for row in refused]
    assert told == [[("record.well_formed", f"texts.csv line {line}")] for line in (3, 6)]
    with pytest.raises(GateRefused, match="2 of 4 rows"):
        score(csv_job(tmp_path, folder, 0.1))


def png(color: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (color, 0, 0)).save(file, "PNG")
    return file.getvalue()


def test_an_image_that_cannot_be_decoded_fails_alone(score: Score, tmp_path: Path) -> None:
    folder = image_cnn(tmp_path / "model")
    (column,) = loaded(folder).card.signature.inputs
    pictures = tmp_path / "input" / "sub folder"
    pictures.mkdir(parents=True)
    (pictures / "a.png").write_bytes(png(1))
    (pictures / "b.PNG").write_bytes(png(200)[:-30])
    (pictures / "c.png").write_bytes(b"no picture")
    assert column == "content"
    contract = {
        "columns": {"path": {"type": "string"}, "content": {"type": "binary", "nullable": False}}
    }
    source = {"format": "images", "path": str(tmp_path / "input")}

    summary = score(job_of(tmp_path, folder, source=source, key=["path"], contract=contract))

    assert counts(summary) == (3, 1, 0, 2)
    found = rows(tmp_path / "lake", "SELECT path, error FROM predictions_tiny ORDER BY path")
    assert [(row["path"], row["error"] is None) for row in found] == [
        ("sub folder/a.png", True), ("sub folder/b.PNG", False), ("sub folder/c.png", False),
    ]  # fmt: skip


@pytest.mark.slow
def test_a_delta_source_is_read_at_its_version(
    spark: SparkSession, score: Score, model: Path, tmp_path: Path
) -> None:
    table = tmp_path / "table"
    for seed in (0, 1):
        part = image_table(images(3, seed), [seed * 3 + i for i in range(3)])
        pq.write_table(part, tmp_path / "part.parquet")
        spark.read.parquet(str(tmp_path / "part.parquet")).write.format("delta").mode(
            "append"
        ).save(str(table))
    source = {"format": "delta", "path": str(table)}

    assert score(job_of(tmp_path, model, source=source | {"version": 0})).rows_read == 3
    latest = score(job_of(tmp_path, model, source=source))
    assert latest.rows_read == 6
    assert (
        json.loads(
            rows(
                tmp_path / "lake",
                f"SELECT pinned_input FROM runs_current WHERE run_id = '{latest.run_id}'",
            )[0]["pinned_input"]
        )["version"]
        == 1
    )
