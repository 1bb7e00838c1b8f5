"""Small real models and inputs: shipped networks with seeded weights, a BERT made here, Parquet files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.query.engine import query
from millrace.schemas.config import Job
from millrace.udfs.graphs.networks import build, save
from millrace.udfs.models import model_loading
from millrace.udfs.models.model_folder import write_card
from millrace.udfs.runtime.plan import Runtime

SIDE = 4  # images of 4 x 4 pixels: as real as larger ones, and quick
CLASSES = 3
SEED = 7
WORDS = ("good", "bad", "##ly", "day", "night", "a", "the", "!", "?", "😀", "שלום")


def rows(lake: Path, sql: str) -> list[dict[str, Any]]:
    """What a query says of a lake."""
    found: list[dict[str, Any]] = query(LakeLocation(lake), sql).to_pylist()
    return found


def model_folder(
    folder: Path,
    architecture: str,
    options: dict[str, Any],
    inputs: dict[str, Any],
    outputs: dict[str, Any],
    preprocess: dict[str, Any],
    postprocess: dict[str, Any],
) -> Path:
    """A folder with seeded random weights for a shipped network, and the card that vouches for it."""
    folder.mkdir(parents=True, exist_ok=True)
    names = list(inputs)
    shape = (len(names),) if preprocess["name"] == "columns" else tuple(inputs[names[0]]["shape"])
    torch.manual_seed(SEED)
    save(build(architecture, shape, options), folder / "weights.safetensors")
    write_card(
        folder,
        name=f"tiny-{architecture}",
        version="1",
        format="safetensors",
        architecture={"name": architecture, "options": options},
        signature={"inputs": inputs, "outputs": outputs},
        preprocess=preprocess,
        postprocess=postprocess,
        licence="Apache-2.0",
    )
    return folder


def pixel_mlp(folder: Path, **changes: Any) -> Path:
    """An ``mlp`` that names the class of a 4 x 4 image given as 16 raw bytes."""
    parts: dict[str, Any] = {
        "architecture": "mlp",
        "options": {"hidden": [8], "outputs": CLASSES},
        "inputs": {"pixels": {"type": "binary", "shape": [SIDE, SIDE]}},
        "outputs": {
            "label": {"type": "bigint"},
            "score": {"type": "float"},
            "probabilities": {"type": "array<float>", "shape": [CLASSES]},
        },
        "preprocess": {"name": "pixels", "options": {"scale": 1 / 255}},
        "postprocess": {"name": "classify"},
    }
    return model_folder(folder, **{**parts, **changes})


def image_cnn(folder: Path, **changes: Any) -> Path:
    """A ``cnn`` that reads encoded PNGs as three channels of 4 x 4."""
    return pixel_mlp(
        folder,
        architecture="cnn",
        options={"channels": [4], "dense": 5, "classes": CLASSES},
        inputs={"content": {"type": "binary", "shape": [3, SIDE, SIDE]}},
        preprocess={"name": "image", "options": {"scale": 1 / 255, **changes.pop("step", {})}},
        **changes,
    )


def vector_mlp(folder: Path, kind: str = "array<double>") -> Path:
    """An ``mlp`` that embeds a vector of four numbers."""
    return pixel_mlp(
        folder,
        options={"hidden": [8], "outputs": 5},
        inputs={"vector": {"type": kind, "shape": [4]}},
        outputs={"embedding": {"type": "array<float>", "shape": [5]}},
        preprocess={"name": "vector"},
        postprocess={"name": "embed"},
    )


def series_lstm(folder: Path) -> Path:
    """An ``lstm`` that reads three steps of two features and gives two values."""
    return pixel_mlp(
        folder,
        architecture="lstm",
        options={"hidden": 4, "outputs": 2},
        inputs={"series": {"type": "array<float>", "shape": [3, 2]}},
        outputs={"value": {"type": "double"}, "values": {"type": "array<double>", "shape": [2]}},
        preprocess={"name": "vector"},
        postprocess={"name": "values"},
    )


def columns_mlp(folder: Path, step: dict[str, Any] | None = None, **types: str) -> Path:
    """An ``mlp`` over one number a column."""
    return pixel_mlp(
        folder,
        options={"hidden": [8], "outputs": 1},
        inputs={name: {"type": kind} for name, kind in types.items()},
        outputs={"value": {"type": "float"}},
        preprocess=step or {"name": "columns"},
        postprocess={"name": "values"},
    )


def tiny_bert(folder: Path, task: str, **options: Any) -> Path:
    """A BERT of 16 dimensions with a WordPiece tokenizer, both made here; ``task`` is classify or embed."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        BertModel,
        PreTrainedTokenizerFast,
    )

    folder.mkdir(parents=True, exist_ok=True)
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]
    tokenizer = Tokenizer(models.WordPiece({n: i for i, n in enumerate(names)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    ).save_pretrained(folder)
    torch.manual_seed(SEED)
    config = BertConfig(
        vocab_size=len(names),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=options.pop("positions", 32),
        num_labels=2,
    )
    kind = BertForSequenceClassification if task == "classify" else BertModel
    kind(config).save_pretrained(folder)
    (folder / "training_args.bin").unlink(missing_ok=True)
    return bert_card(folder, task, **options)


def brittle_bert(folder: Path) -> Path:
    """A `tiny_bert` whose tokenizer knows a word that the network does not: a text with "night" breaks it."""
    tiny_bert(folder, "embed")
    file = folder / "tokenizer.json"
    told = json.loads(file.read_text("utf-8"))
    told["model"]["vocab"]["night"] = 999
    file.write_text(json.dumps(told), "utf-8")
    return bert_card(folder, "embed")


def bert_card(folder: Path, task: str, max_tokens: int | None = 32) -> Path:
    """(Re)write the card of a `tiny_bert` folder."""
    outputs = {
        "classify": {"label": {"type": "string"}, "score": {"type": "float"}},
        "embed": {"embedding": {"type": "array<float>", "shape": [16]}},
    }[task]
    labels = {"labels": ["negative", "positive"]} if task == "classify" else {}
    step = {} if max_tokens is None else {"max_tokens": max_tokens}
    write_card(
        folder,
        name="tiny-bert",
        version="1",
        format="huggingface",
        signature={"inputs": {"text": {"type": "string"}}, "outputs": outputs},
        preprocess={"name": "tokens", "options": step},
        postprocess={"name": task, "options": labels},
        licence="Apache-2.0",
    )
    return folder


def loaded(folder: Path) -> model_loading.Model:
    """The folder's model on the CPU, its digest checked as a worker does."""
    return model_loading.load(folder, model_loading.digest_of(folder), Runtime("cpu"))


def torch_loop(folder: Path, pixels: Sequence[bytes]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Labels and probabilities of a `pixel_mlp`, by plain torch: one image at a time, no Millrace."""
    from safetensors.torch import load_file

    weights = load_file(folder / "weights.safetensors")
    rows = []
    for image in pixels:
        x = torch.tensor(list(image), dtype=torch.float32) / 255
        hidden = torch.relu(weights["layers.1.weight"] @ x + weights["layers.1.bias"])
        rows.append(
            torch.softmax(weights["layers.3.weight"] @ hidden + weights["layers.3.bias"], 0)
        )
    probabilities = torch.stack(rows).numpy() if rows else np.empty((0, CLASSES), np.float32)
    return probabilities.argmax(axis=1), probabilities


def images(count: int, seed: int = 0) -> list[bytes]:
    """Random images of 4 x 4 pixels as raw bytes."""
    drawn = np.random.default_rng(seed).integers(0, 256, (count, SIDE * SIDE), dtype=np.uint8)
    return [row.tobytes() for row in drawn]


def image_table(
    pixels: Sequence[bytes | None], ids: Sequence[int | None] | None = None
) -> pa.Table:
    """Columns ``id`` and ``pixels``."""
    keys = list(range(len(pixels))) if ids is None else ids
    return pa.table({"id": pa.array(keys, pa.int64()), "pixels": pa.array(pixels, pa.binary())})


def write_parquet(folder: Path, table: pa.Table, files: int = 1) -> Path:
    """The table's rows in so many Parquet files."""
    folder.mkdir(parents=True, exist_ok=True)
    size = max(1, -(-len(table) // files))
    for number in range(files):
        pq.write_table(table.slice(number * size, size), folder / f"part-{number}.parquet")
    return folder


def job_of(tmp: Path, model: Path, **changes: Any) -> Job:
    """A job over ``tmp/input`` that scores ``id, pixels`` into ``tmp/lake``; ``changes`` replace keys."""
    parts: dict[str, Any] = {
        "name": "tiny",
        "source": {"format": "parquet", "path": str(tmp / "input")},
        "key": ["id"],
        "contract": {
            "columns": {
                "id": {"type": "bigint", "nullable": False, "unique": True},
                "pixels": {"type": "binary", "nullable": False},
            },
            "max_quarantined": 1.0,
        },
        "model": {"uri": str(model)},
        "output": {"path": str(tmp / "lake")},
        "cost": {"prices": "example", "instance": "laptop"},
    }
    return Job.model_validate({**parts, **changes})


def into(job: Job, lake: Path) -> Job:
    """The job with another lake."""
    return job.model_copy(update={"output": job.output.model_copy(update={"path": str(lake)})})


def observed_job(tmp: Path, model: Path, observe: dict[str, Any], **contract: Any) -> Job:
    """A `job_of` that tells others of itself, over 21 rows of which its rule refuses one."""
    write_parquet(tmp / "input", image_table([*images(20), b"short"]))
    made = job_of(tmp, model).model_dump(mode="json", exclude_unset=True)
    made["contract"]["rules"] = [{"name": "whole", "holds": "length(pixels) = 16"}]
    made["contract"] |= contract
    return Job.model_validate({**made, "observe": observe})
