"""What can be known before a row is read: the model is what it says, and it fits the contract."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pipelines import cloud
from pipelines.rate import Rate, rate_of
from schemas.config import AUTO, Cost, Engine, Job
from schemas.contract import Contract
from schemas.errors import ModelError, UsageError
from schemas.model import ModelCard
from schemas.prices import PriceBook
from schemas.tables import RESERVED
from schemas.types import arrow_type
from schemas.yaml_file import load
from udfs.models import base


@dataclass(frozen=True)
class VerifiedModel:
    """A model folder whose every file has been checked against its card."""

    folder: Path
    card: ModelCard
    digest: str


def verified_model(job: Job) -> VerifiedModel:
    """The job's model. Raises ModelError unless its files are the promised ones and it fits the job."""
    folder = Path(job.model.uri).absolute()
    card = base.read_card(folder)
    base.verify(folder, card)
    if job.model.version not in (None, card.version):
        raise ModelError(
            f"the model in {folder} has another version",
            got=card.version,
            allowed=job.model.version,
        )
    if card.format in base.HOLD_CODE and job.model.trust != "code":
        raise ModelError(
            f"the model in {folder} may hold code, and the job does not trust it",
            got=f"format {card.format}",
            allowed="formats that are only data, or model.trust: code",
            next="set model.trust: code if you know where the file comes from, or export to onnx",
        )
    _fits(card, job)
    return VerifiedModel(folder, card, base.digest_of(folder))


def rate(
    cost: Cost | None,
    at: datetime,
    machine: Callable[[], cloud.Machine | None] = cloud.machine,
) -> Rate | None:
    """The prices of the job's instance, the one in force ``at`` in front; None for a job without prices.

    ``machine`` says what this machine is, for a job whose instance is ``auto``. Raises UsageError.
    """
    if cost is None:
        return None
    book = load(Path(cost.prices), PriceBook)
    sku, region = cost.instance, cost.region
    if sku == AUTO:
        found = machine()
        if found is None:
            raise UsageError(
                "cost.instance is auto, and no cloud says which machine this is",
                got="no answer from a metadata service",
                allowed=", ".join(dict.fromkeys(one.sku for one in book.instances)),
                next="set cost.instance to one of these",
            )
        sku, region = found.sku, region or found.region
    return rate_of(book, sku, category=cost.category, region=region, at=at)


def settings(engine: Engine) -> dict[str, str | int]:
    """The engine's settings as the job asks for them; what ``auto`` came to is told at the run's end."""
    return engine.model_dump(mode="json")


def _fits(card: ModelCard, job: Job) -> None:
    """The model's inputs are columns of the contract, and its outputs collide with nothing."""
    contract: Contract = job.contract
    lines = []
    for name, wanted in card.signature.inputs.items():
        declared = contract.columns.get(name)
        if declared is None:
            lines.append(f"{name}: the model reads {wanted.type}, the contract does not declare it")
        elif arrow_type(declared.type) != arrow_type(wanted.type):
            lines.append(
                f"{name}: the model reads {wanted.type}, the contract says {declared.type}"
            )
    taken = {column.lower() for column in (*job.key, *job.keep, *RESERVED)}
    lines += [
        f"{name}: an output of the model, and also a key, kept or reserved column"
        for name in card.signature.outputs
        if name.lower() in taken
    ]
    if lines:
        raise ModelError(
            f"model {card.title} does not fit the contract of job {job.name}",
            got="; ".join(lines),
            allowed=f"inputs {', '.join(card.signature.inputs)}; outputs {', '.join(card.signature.outputs)}",
            next="declare the columns in contract.columns, or rename them",
        )
