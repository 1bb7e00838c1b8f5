"""``python -m millrace.examples.ask``: the scored paragraphs that answer a question best."""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from millrace.pipelines.api.lake import read
from millrace.udfs.models.model_loading import digest_of, load
from millrace.udfs.runtime.plan import Runtime

BEST = 5
_SHOWN_CHARS = 320


def embedding(question: str, model_folder: Path) -> NDArray[np.float32]:
    """The question as the model sees it: ``[dimensions]``, of length one."""
    model = load(model_folder, digest_of(model_folder), Runtime())
    (column,) = model.card.signature.inputs
    examples = model.decode(pa.record_batch({column: [question]}))
    return np.asarray(model.predict(examples.values)["embedding"][0], np.float32)


def nearest(
    question: NDArray[np.float32], paragraphs: pa.Table, count: int = BEST
) -> list[dict[str, Any]]:
    """The ``count`` paragraphs with the largest cosine, best first; vectors have length one."""
    vectors = paragraphs.column("embedding").combine_chunks()
    flat = vectors.flatten().to_numpy(zero_copy_only=False)
    similarity = flat.reshape(len(vectors), -1) @ question  # [paragraphs]
    order = np.argsort(-similarity, kind="stable")[:count]
    texts = paragraphs.select(["source", "text"]).take(pa.array(order)).to_pylist()
    return [
        {"similarity": round(float(similarity[row]), 4), **text}
        for row, text in zip(order, texts, strict=True)
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Answer the question on the command line."""
    parser = argparse.ArgumentParser(prog="python -m millrace.examples.ask", description=__doc__)
    parser.add_argument("--lake", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--question", required=True)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    paragraphs = read(options.lake).sql("SELECT source, text, embedding FROM docs_current")
    best = nearest(embedding(options.question, options.model), paragraphs)
    if options.json:
        print(json.dumps(best))
        return 0
    for rank, found in enumerate(best, start=1):
        print(f"\n{rank}. {found['source']}  (similarity {found['similarity']:.2f})")
        short = textwrap.shorten(found["text"], _SHOWN_CHARS, placeholder=" ...")
        print(textwrap.indent(textwrap.fill(short, 92), "   "))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
