"""``millrace model``: what can be done with a model folder besides running it."""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.options import json_option


@click.group()
def model() -> None:
    """Convert a model folder for another backend.

    \b
    Example:
      millrace model convert model --to openvino --out model-openvino
    """


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
