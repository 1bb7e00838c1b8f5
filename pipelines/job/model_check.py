"""What can be known before a row is read: the model is what it says, and it fits the contract."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from millrace.pipelines.profiling import output_checks
from millrace.pipelines.spark import machine_check
from millrace.schemas.config import Job
from millrace.schemas.contract import Contract
from millrace.schemas.errors import ModelError
from millrace.schemas.fits import why_not
from millrace.schemas.model import ModelCard
from millrace.schemas.tables import RESERVED
from millrace.udfs.models import model_loading


@dataclass(frozen=True)
class VerifiedModel:
    """A model folder whose every file has been checked against its card."""

    folder: Path
    card: ModelCard
    digest: str

    @property
    def decoded_as(self) -> dict[str, Any]:
        """How the model's pictures are decoded, defaults included; empty for a model of none.

        Earlier versions decoded otherwise with the same card, so that it is part of what a run computes.
        """
        step = self.card.preprocess
        if step.name != "image":
            return {}
        names = ("orientation", "background", "max_pixels")
        return {name: getattr(step.options, name) for name in names}

    @property
    def computed_as(self) -> dict[str, Any]:
        """What a run computes besides what the card says; empty where every version computes the same.

        Earlier versions made other token ids of the same folder, ignored ``mean`` and ``std``, and gave
        a single logit a softmax: their unfinished runs and cached outputs are not used.
        """
        before, after, network = self.card.preprocess, self.card.postprocess, self.card.architecture
        is_text = before.name == "tokens" and after.name != "generate"
        is_moved = bool({"mean", "std"} & before.options.model_fields_set)
        sizes = dict(network.options) if network else {}
        is_single = after.name == "classify" and 1 in (sizes.get("outputs"), sizes.get("classes"))
        return self.decoded_as | ({"computes": 2} if is_text or is_moved or is_single else {})


def checked_model(job: Job, *, on_this_machine: bool) -> VerifiedModel:
    """The job's model, which can be computed as the job asks. Raises ModelError or UsageError.

    ``on_this_machine``: workers compute here, so that devices and backends can be checked.
    """
    model = verified_model(job)
    machine_check.check_model(job.engine, model.card)
    output_checks.check_job(job, model.card)
    if on_this_machine:
        machine_check.check_machine(job.engine)
    return model


def verified_model(job: Job) -> VerifiedModel:
    """The job's model. Raises ModelError unless its files are the promised ones and it fits the job."""
    folder = Path(job.model.uri).absolute()
    card = model_loading.read_card(folder)
    model_loading.verify(folder, card)
    if job.model.version not in (None, card.version):
        raise ModelError(
            f"the model in {folder} has another version",
            got=card.version,
            allowed=job.model.version,
        )
    if card.format in model_loading.HOLD_CODE and job.model.trust != "code":
        raise ModelError(
            f"the model in {folder} may hold code, and the job does not trust it",
            got=f"format {card.format}",
            allowed="formats that are only data, or model.trust: code",
            next="set model.trust: code if you know where the file comes from, or export to onnx",
        )
    _fits(card, job)
    if card.is_foreign:
        from millrace.udfs.models.graph_ending import check_ending

        check_ending(folder, card)
    return VerifiedModel(folder, card, model_loading.digest_of(folder))


def _fits(card: ModelCard, job: Job) -> None:
    """The model's inputs are columns of the contract, and its outputs collide with nothing."""
    contract: Contract = job.contract
    lines = []
    for name, wanted in card.signature.inputs.items():
        declared = contract.columns.get(name)
        if declared is None:
            lines.append(f"{name}: the model reads {wanted.type}, the contract does not declare it")
        elif why := why_not(declared.type, wanted.type, card.preprocess.name):
            types = f"the model reads {wanted.type}, the contract says {declared.type}"
            lines.append(f"{name}: {types}: {why}")
    used = {column.lower() for column in (*job.key, *job.keep, *RESERVED)}
    lines += [
        f"{name}: an output of the model, and also a key, kept or reserved column"
        for name in card.signature.outputs
        if name.lower() in used
    ]
    if lines:
        raise ModelError(
            f"model {card.title} does not fit the contract of job {job.name}",
            got="; ".join(lines),
            allowed=f"inputs {', '.join(card.signature.inputs)}; outputs {', '.join(card.signature.outputs)}",
            next="declare the columns in contract.columns, or rename them",
        )
