"""Make model folders from Python: import a model made elsewhere, convert one, seal one after a change."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from millrace.schemas.errors import UsageError

if TYPE_CHECKING:  # their modules load torch, which `import millrace` must not
    from millrace.schemas.model import ModelCard
    from millrace.udfs.models.file_import import ImportResult, ModelInfo
    from millrace.udfs.models.model_folder import Sealed

Format = Literal["openvino", "onnx", "torchscript"]
_OF_TEXTS = ("text", "max_tokens", "max_new_tokens", "prompt_name")
_OF_GRAPHS = ("sample", "expect", "task", "labels", "max_differing", "trust")


def import_model(
    source: str | Path,
    out: str | Path,
    *,
    name: str | None = None,
    version: str = "1",
    licence: str | None = None,
    **options: Any,
) -> ImportResult:
    """Make the model folder ``out`` of a Hugging Face folder, or of an ONNX or TorchScript file.

    The folder appears only if it gives the outputs of its source library.

    Args:
        source: a folder that `save_pretrained` wrote, or a file `.onnx` or `.ts`.
        name, version, licence: what tables call the model; name and licence None: the source's own.
        options: of a folder: text (the column of texts), max_tokens, max_new_tokens, prompt_name.
            Of a file: sample (a CSV file of input rows), expect (its columns with the library's
            predictions), task (classify or values), labels (the classes, in order), max_differing (a share
            of rows), trust="code" (to run a TorchScript file).

    Returns:
        The new folder's card, and notes on what the comparison did not cover.

    Raises:
        UsageError: an option is missing, or is none of this kind of source.
        ModelError: the model cannot be read, or its outputs differ.
    """
    from millrace.udfs.models.file_import import ModelInfo

    source, out = Path(source), Path(out)
    given = {key: value for key, value in options.items() if value not in (None, (), [])}
    _check_options(source, given)
    about = ModelInfo(name, version, licence)
    return (_of_folder if source.is_dir() else _of_file)(source, out, about, given)


def convert_model(
    folder: str | Path, out: str | Path, to: Format, *, precision: Literal["fp32", "int8"] = "fp32"
) -> ModelCard:
    """Export a model folder to another format, compare both on a sample, and return the new card.

    Args:
        precision: of the stored weights; int8 is for onnx.

    Raises:
        ModelError: the conversion is not possible, or the results differ.
    """
    from millrace.udfs.models.conversion import convert

    return convert(Path(folder), Path(out), to, precision)


def seal_model(folder: str | Path) -> Sealed:
    """Write a folder's `model.yaml` for its current files. Raises ModelError."""
    from millrace.udfs.models.model_folder import seal

    return seal(Path(folder))


def _check_options(source: Path, given: dict[str, Any]) -> None:
    kind, allowed = ("folder", _OF_TEXTS) if source.is_dir() else ("file", _OF_GRAPHS)
    if other := [key for key in given if key not in allowed]:
        raise UsageError(
            f"a {kind} is imported without {other[0]}", got=str(source), allowed=", ".join(allowed)
        )


def _of_folder(source: Path, out: Path, about: ModelInfo, given: dict[str, Any]) -> ImportResult:
    from millrace.udfs.models.file_import import ImportResult
    from millrace.udfs.models.huggingface_import import adopt
    from millrace.udfs.models.text_task import ImportOptions

    if "text" not in given:
        raise UsageError(
            "a Hugging Face folder reads texts", next="say from which column: --text NAME"
        )
    options = ImportOptions(**{key: value for key, value in given.items() if key != "text"})
    card = adopt(source, out, given["text"], options,
                 name=about.name, version=about.version, licence=about.licence)  # fmt: skip
    return ImportResult(card, ())


def _of_file(source: Path, out: Path, about: ModelInfo, given: dict[str, Any]) -> ImportResult:
    from millrace.udfs.models.file_import import FORMATS, import_file
    from millrace.udfs.models.import_sample import read_sample

    if source.suffix not in FORMATS:
        raise UsageError(
            f"{source} is no file that a model can be imported from",
            got=source.suffix or "no extension",
            allowed=f"{', '.join(FORMATS)}, or a folder that save_pretrained wrote",
            next="export the model to ONNX: docs/MODELS.md says how, by library",
        )
    if source.suffix == ".ts" and given.get("trust") != "code":
        raise UsageError(
            f"{source} holds code, which runs when the model does",
            next="--trust code if you know where it comes from, or export to ONNX",
        )
    if "sample" not in given:
        raise UsageError(
            "a graph does not say which columns it reads",
            next="--sample rows.csv: a few rows of its inputs, with a header, in the order of training; "
            "for a model of pictures write the card: docs/PICTURES.md shows how",
        )
    return import_file(
        source,
        out,
        read_sample(Path(given["sample"]), given.get("expect", ())),
        about,
        task=given.get("task"),
        labels=given.get("labels"),
        max_differing=given.get("max_differing", 0.0),
    )
