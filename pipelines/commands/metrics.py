"""``millrace metrics``: what a lake's tables say, for Prometheus."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from millrace.pipelines.commands.options import json_option, lake_option
from millrace.pipelines.lake.location import LakeLocation
from millrace.schemas.errors import UsageError


@click.command()
@lake_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file, whole or not at all; node_exporter reads *.prom of a folder.",
)
@click.option(
    "--serve", "port", type=click.IntRange(0, 65535), metavar="PORT", help="Answer on /metrics."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="With --serve: where.")
@json_option
def metrics(
    lake: LakeLocation, out: Path | None, port: int | None, host: str, as_json: bool
) -> None:
    """Print a lake's metrics in Prometheus' text format, or write or serve them.

    Rows by outcome, cost, slots held by kind, waste, batch size, model load, gates, drift, energy: by
    job, of all runs and of the last. They come from the tables alone; no run needs to be at work.

    \b
    Examples:
      millrace metrics --lake lake
      millrace metrics --lake lake --out /var/lib/node_exporter/millrace.prom
      millrace metrics --lake lake --serve 9464
    """
    if port is not None and out is not None:
        raise UsageError("--serve or --out, not both", next="run the command twice")
    from millrace.pipelines.api.lake import Lake
    from millrace.pipelines.observability.metrics import write

    if port is not None:
        _serve(lake, host, port, as_json=as_json)
    elif out is not None:
        from millrace.pipelines.lake.write_access import check_file

        check_file(out, "--out")
        path = str(write(lake, out))
        _say({"metrics": path}, path, as_json=as_json)
    else:
        text = Lake(lake).metrics()
        _say({"metrics": text}, text.rstrip("\n"), as_json=as_json)


def _serve(lake: LakeLocation, host: str, port: int, *, as_json: bool) -> None:
    """Answer until Ctrl-C or SIGTERM, which is how it ends."""
    from millrace.pipelines.console.signals import stop_at_signals
    from millrace.pipelines.observability.metrics_server import create_server

    stop_at_signals()
    with create_server(lake, host, port) as server:
        url = f"http://{host}:{server.server_address[1]}/metrics"
        _say({"metrics": url}, f"serving {url}", as_json=as_json)
        sys.stdout.flush()
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return


def _say(fields: dict[str, str], text: str, *, as_json: bool) -> None:
    from millrace.pipelines.console import output

    if as_json:
        output.print_json(fields)
    else:
        output.echo(text)
