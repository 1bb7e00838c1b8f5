"""``millrace model``: what can be done with a model folder besides running it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipelines.options import json_option


@click.group()
def model() -> None:
    """Make a model folder: from one of the Hugging Face Hub, or for another backend.

    \b
    Examples:
      millrace model import downloads/sentiment --text review --out model
      millrace model convert model --to openvino --out model-openvino
    """


@model.command("import")
@click.argument("source", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--text", "column", required=True, help="The column that it reads texts from.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The folder to make.")
@click.option("--name", help="What tables call it; else the source folder's name.")
@click.option("--version", default="1", show_default=True, help="Of the model, as tables show it.")
@click.option("--licence", help="Its licence; else what its README.md says.")
@click.option("--max-new-tokens", type=click.IntRange(1), help="Of a model that writes texts.")
@json_option
def import_(source: Path, column: str, out: Path, as_json: bool, **about: Any) -> None:
    """Copy a Hugging Face folder's data, and write the model.yaml that vouches for it.

    SOURCE is what save_pretrained writes, or a snapshot of the Hub. Its config.json says whether it
    classifies, embeds or writes; weights must be safetensors, and code in it is left behind.

    \b
    Examples:
      millrace model import downloads/sentiment --text review --out model
      millrace model import downloads/llama --text prompt --out model --max-new-tokens 128
    """
    from pipelines import console
    from udfs.models.adopt import adopt
    from udfs.models.base import digest_of

    card = adopt(source, out, column, **about)
    gives = {name: one.type for name, one in card.signature.outputs.items()}
    told = {"model": card.title, "folder": str(out), "digest": digest_of(out), "licence": card.licence,
            "reads": column, "step": card.postprocess.name, "options": card.postprocess.options,
            "gives": gives}  # fmt: skip
    if as_json:
        console.print_json(told)
        return
    labels = card.postprocess.options.get("labels")
    console.echo(f"{card.title} ({card.licence}): {out}")
    console.echo(f"  reads     {column} (string)")
    console.echo(f"  gives     {', '.join(f'{name} ({kind})' for name, kind in gives.items())}")
    if labels:
        console.echo(f"  labels    {', '.join(labels)}")
    console.echo(f"a job takes it by model.uri: {out}")


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
def convert(folder: Path, target: str, precision: str, out: Path, as_json: bool) -> None:
    """Export a model folder, and check the result against its source.

    Both are run on a few inputs; in fp32 the new folder appears only where they agree within 1e-4.
    What was made is a model folder like any other, with the source's digest in its model.yaml.

    \b
    Examples:
      millrace model convert model --to openvino --out model-openvino
      millrace model convert model --to onnx --precision int8 --out model-int8
    """
    from pipelines import console
    from udfs.models.base import digest_of
    from udfs.models.convert import convert as converted

    card = converted(folder, out, target, precision)
    told = {
        "model": card.title,
        "format": card.format,
        "precision": precision,
        "folder": str(out),
        "digest": digest_of(out),
        "size_bytes": sum(path.stat().st_size for path in out.rglob("*")),
    }
    if as_json:
        console.print_json(told)
    else:
        console.echo(f"{card.title} as {card.format} in {precision}: {out}")
        console.echo(f"checked against {folder}; a job takes it by model.uri: {out}")
