"""Contestant: sentence-transformers' own multi-process pool, which sorts each chunk by length.

Runs in its own environment.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from benches.contestant import tell, told
from benches.loops import column_of
from benches.predictors import MAX_TOKENS
from benches.workloads import parts


def main(arguments: Sequence[str] | None = None) -> None:
    """Score the input: texts only."""
    os.environ["OMP_NUM_THREADS"] = "1"  # for the pool's processes
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["HF_HUB_OFFLINE"] = "1"
    task = told(__doc__, arguments)
    started = time.time()
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    words = Transformer(str(task.model), max_seq_length=MAX_TOKENS)
    pooling = Pooling(words.get_embedding_dimension(), pooling_mode="mean")
    model = SentenceTransformer(modules=[words, pooling, Normalize()], device="cpu")
    files = parts(task.input)
    tables = [pq.read_table(path, columns=list(task.task.carried)) for path in files]
    texts = [text for table in tables for text in table.column("text").to_pylist()]
    pool = model.start_multi_process_pool(["cpu"] * task.slots)
    # One text a process, so that the steady part begins when both have imported and unpickled.
    size = task.task.batch_rows
    model.encode(texts[: task.slots], pool=pool, batch_size=size, chunk_size=1)
    ready = time.time()
    found = model.encode(texts, pool=pool, batch_size=size)
    computed = time.time()
    model.stop_multi_process_pool(pool)
    task.predictions.mkdir(parents=True)
    start = 0
    for path, table in zip(files, tables, strict=True):
        made = column_of(found[start : start + table.num_rows])
        columns = {name: table.column(name) for name in task.task.carried}
        pq.write_table(pa.table({**columns, "embedding": made}), task.predictions / path.name)
        start += table.num_rows
    ended = time.time()
    tell(
        task.report,
        stage_s=ended - started,
        steady_s=computed - ready,
        stage_steady_s=ended - ready,
        setup_s=(ready - started) * task.slots,
        first_prediction_at=ready,
    )


if __name__ == "__main__":
    main()
