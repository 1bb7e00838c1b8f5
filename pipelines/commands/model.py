"""``millrace model``: import, convert and seal model folders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from millrace.pipelines.commands.options import json_option

if TYPE_CHECKING:
    from millrace.pipelines.api.models import Format


@click.group()
def model() -> None:
    """Make a model folder: from a model made elsewhere, for another backend, or after a change.

    \b
    Examples:
      millrace model import downloads/sentiment --text review --out model
      millrace model convert model --to openvino --out model-openvino
      millrace model seal model
    """


@model.command("import")
@click.argument("source", type=click.Path(path_type=Path, exists=True))
@click.option("--text", "column", help="The column that a Hugging Face folder reads texts from.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The folder to make.")
@click.option("--name", help="What tables call it; else the source's name.")
@click.option("--version", default="1", show_default=True, help="Of the model, as tables show it.")
@click.option("--licence", help="Its licence; else what the folder's README.md says.")
@click.option("--max-new-tokens", type=click.IntRange(1), help="Of a model that writes texts.")
@click.option(
    "--sample",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Of a file: a CSV with rows of the model's inputs.",
)
@click.option("--expect", multiple=True, help="A column of the sample: the library's prediction.")
@click.option(
    "--task", type=click.Choice(["classify", "values"]), help="Where the graph is silent."
)
@click.option("--label", "labels", multiple=True, help="A class's name, in the graph's order.")
@click.option(
    "--max-differing",
    type=click.FloatRange(0, 1),
    show_default="0",
    help="Share of the sample's rows that may differ from their prediction.",
)
@click.option("--trust", type=click.Choice(["code"]), help="code: run a TorchScript file's code.")
@click.option("--max-tokens", type=click.IntRange(1), help="Of a text; else what its files say.")
@click.option("--prompt-name", help="The prompt before each text; else its default prompt.")
@json_option
def import_(
    source: Path,
    out: Path,
    column: str | None,
    labels: tuple[str, ...],
    as_json: bool,
    **given: Any,
) -> None:
    """Make a model folder of a Hugging Face folder, or of an ONNX or TorchScript file.

    Of a folder (--text), config.json says whether it classifies, embeds or writes; weights must be
    safetensors, and code in it is left behind. Of a file (--sample), the graph is inspected and run on
    the sample; with --expect, a model whose predictions differ from the library's is refused.

    \b
    Examples:
      millrace model import downloads/sentiment --text review --out model
      millrace model import downloads/llama --text prompt --out model --max-new-tokens 128
      millrace model import churn.onnx --sample rows.csv --expect probability --out model
    """
    from millrace.pipelines.api.models import import_model
    from millrace.pipelines.console import output
    from millrace.udfs.models.model_loading import digest_of

    classes = [_label(one) for one in labels]
    imported = import_model(source, out, text=column, labels=classes, **given)
    card, notes = imported.card, imported.notes
    reads = {name: one.type for name, one in card.signature.inputs.items()}
    gives = {name: one.type for name, one in card.signature.outputs.items()}
    options = card.postprocess.options.model_dump(mode="json")
    facts = {"model": card.title, "folder": str(out), "digest": digest_of(out), "licence": card.licence,
            "reads": ", ".join(reads), "step": card.postprocess.name, "options": options,
            "gives": gives, "checks": [one.model_dump() for one in card.checks],
            "notes": list(notes)}  # fmt: skip
    if as_json:
        output.print_json(facts)
        return
    output.echo(f"{card.title} ({card.licence}): {out}")
    output.echo(f"  reads     {', '.join(f'{name} ({kind})' for name, kind in reads.items())}")
    output.echo(f"  gives     {', '.join(f'{name} ({kind})' for name, kind in gives.items())}")
    for check in card.checks:
        output.echo(
            f"  checked   {check.compared} against {check.library} {check.version} on {check.rows} rows:"
            f" largest difference {check.largest_difference:g}"
        )
    if named := options.get("labels"):
        output.echo(f"  labels    {', '.join(map(str, named))}")
    for note in notes:
        output.echo(f"  note      {note}")
    output.echo(f"a job takes it by model.uri: {out}")


def _label(text: str) -> str | int:
    return int(text) if text.lstrip("-").isdigit() else text


@model.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--to",
    "target",
    required=True,
    type=click.Choice(["openvino", "onnx", "torchscript"]),
    help="The format to write.",
)
@click.option(
    "--precision",
    default="fp32",
    show_default=True,
    type=click.Choice(["fp32", "int8"]),
    help="Of the stored weights. int8 is for onnx; OpenVINO takes bf16 from fp32 weights.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The folder to make.")
@json_option
def convert(
    folder: Path,
    target: Format,
    precision: Literal["fp32", "int8"],
    out: Path,
    as_json: bool,
) -> None:
    """Export a model folder, and check the result against its source.

    Both are run on a few inputs; in fp32 the new folder appears only where they agree within 1e-4.
    What was made is a model folder like any other, with the source's digest in its model.yaml.

    \b
    Examples:
      millrace model convert model --to openvino --out model-openvino
      millrace model convert model --to onnx --precision int8 --out model-int8
    """
    from millrace.pipelines.api.models import convert_model
    from millrace.pipelines.console import output
    from millrace.udfs.models.model_loading import digest_of

    card = convert_model(folder, out, target, precision=precision)
    facts = {
        "model": card.title,
        "format": card.format,
        "precision": precision,
        "folder": str(out),
        "digest": digest_of(out),
        "size_bytes": sum(path.stat().st_size for path in out.rglob("*")),
    }
    if as_json:
        output.print_json(facts)
    else:
        output.echo(f"{card.title} as {card.format} in {precision}: {out}")
        output.echo(f"checked against {folder}; a job takes it by model.uri: {out}")


@model.command("seal")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@json_option
def seal(folder: Path, as_json: bool) -> None:
    """Write a folder's model.yaml anew for the files in it, after a change that is meant.

    A run refuses a folder whose files are not those that its model.yaml names. What else the file says
    stays; comments in it do not, and checks of an import do not: they were made of other files.

    \b
    Examples:
      millrace model seal model
    """
    from millrace.pipelines.api.models import seal_model
    from millrace.pipelines.console import output
    from millrace.udfs.models.model_loading import digest_of

    found = seal_model(folder)
    files = {"changed": found.changed, "added": found.added, "removed": found.removed}
    facts = {"model": found.card.title, "folder": str(folder), "digest": digest_of(folder)}
    if as_json:
        output.print_json(facts | {name: list(names) for name, names in files.items()})
        return
    output.echo(f"{found.card.title}: {folder}")
    for name, names in files.items():
        for one in names:
            output.echo(f"  {name:<9} {one}")
    if not any(files.values()):
        output.echo("  its model.yaml names the files that are there: nothing is written")
