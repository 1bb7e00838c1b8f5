"""Who takes part: which module, in which of its ways, in which environment, with which promise."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benches.process import ROOT
from benches.workloads import WORKLOADS

ENVIRONMENTS = Path("build/bench/envs")
Kind = Literal["loop", "tuned", "spark", "peer", "millrace"]
# How close to the plain loop answers have to be: numbers within 1e-5 or 1e-4, or what a model's card
# states by default (cosine of embeddings, share of equal labels, error of values).
Promise = Literal["1e-5", "1e-4", "stated"]
EVERY = tuple(WORKLOADS)
PLAIN, PREDICT_BATCH, MILLRACE = "plain_torch", "predict_batch_udf", "millrace_auto"
LATER = "millrace_auto_later"


@dataclass(frozen=True)
class Contestant:
    """One line of the table."""

    name: str
    title: str
    kind: Kind
    module: str
    variant: str = ""
    environment: str = ""  # a folder of `ENVIRONMENTS`; empty for this one
    workloads: tuple[str, ...] = EVERY
    promise: Promise = "1e-4"
    after: str = ""  # a contestant whose lake has what an earlier run of the same model measured

    @property
    def python(self) -> Path:
        """The interpreter that it runs with."""
        if not self.environment:
            return Path(sys.executable)
        return ROOT / ENVIRONMENTS / self.environment / "bin" / "python"


_TEXTS_AND_IMAGES = ("docs", "digits")
_ALL = (
    Contestant(PLAIN, "plain torch loop", "loop", "benches.loops", "plain"),
    Contestant(
        "tuned_fp32", "hand-tuned loop, fp32", "tuned", "benches.loops", "fp32",
        workloads=_TEXTS_AND_IMAGES,
    ),
    Contestant(
        "tuned_bf16", "hand-tuned loop, bf16", "tuned", "benches.loops", "bf16",
        workloads=_TEXTS_AND_IMAGES, promise="stated",
    ),
    Contestant(
        "tuned_openvino", "hand-tuned loop, OpenVINO bf16", "tuned", "benches.loops", "openvino",
        workloads=_TEXTS_AND_IMAGES, promise="stated",
    ),
    Contestant(PREDICT_BATCH, "pyspark `predict_batch_udf`", "spark", "benches.predict_batch"),
    Contestant(
        "iterator_udf", "iterator pandas UDF", "spark", "benches.iterator_udf",
        workloads=_TEXTS_AND_IMAGES,
    ),
    Contestant(
        "map_in_arrow", "`mapInArrow`", "spark", "benches.map_in_arrow",
        workloads=_TEXTS_AND_IMAGES,
    ),
    Contestant(
        "mlflow", "MLflow `spark_udf`", "peer", "benches.peers.mlflow_udf", environment="mlflow",
        workloads=_TEXTS_AND_IMAGES,
    ),
    Contestant(
        "ray", "Ray Data, default blocks", "peer", "benches.peers.ray_data", "default", "ray",
        workloads=_TEXTS_AND_IMAGES,
    ),
    Contestant(
        "ray_blocked", "Ray Data, blocks by hand", "peer", "benches.peers.ray_data", "blocked",
        "ray", workloads=_TEXTS_AND_IMAGES,
    ),
    Contestant("daft", "Daft class UDF", "peer", "benches.peers.daft_udf", environment="daft"),
    Contestant(
        "sentence_pool", "sentence-transformers' pool", "peer", "benches.peers.sentence_pool",
        environment="sbert", workloads=("docs",),
    ),
    Contestant(
        MILLRACE, "Millrace, `auto`", "millrace", "benches.millrace_job", "auto", promise="stated"
    ),
    Contestant(
        LATER, "Millrace, `auto`, a later run", "millrace", "benches.millrace_job", "auto",
        promise="stated", after=MILLRACE,
    ),
    Contestant(
        "millrace_embedded", "Millrace, `auto`, embedded engine", "millrace", "benches.millrace_job",
        "embedded", promise="stated",
    ),
    Contestant(
        "millrace_embedded_later", "Millrace, `auto`, embedded engine, a later run", "millrace",
        "benches.millrace_job", "embedded", promise="stated", after="millrace_embedded",
    ),
    Contestant(
        "millrace_torch_bf16", "Millrace, torch in bf16", "millrace", "benches.millrace_job",
        "torch_bf16", workloads=_TEXTS_AND_IMAGES, promise="stated",
    ),
    Contestant(
        "millrace_fp32", "Millrace, torch in fp32", "millrace", "benches.millrace_job", "fp32",
        promise="1e-5",
    ),
)  # fmt: skip
CONTESTANTS = {one.name: one for one in _ALL}


def of(workload: str) -> list[Contestant]:
    """Who takes part in a workload, in the table's order."""
    return [one for one in _ALL if workload in one.workloads]
