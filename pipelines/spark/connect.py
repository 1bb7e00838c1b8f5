"""A session with a Spark Connect server: what it must have, and what is sent to its workers."""

from __future__ import annotations

import os
import socket
import tempfile
import zipfile
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlparse

from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from millrace.schemas.errors import UsageError

REMOTE = "SPARK_REMOTE"  # PySpark's own name for the server's address
_DEFAULT_PORT = 15002
_REACH_S = 10.0
_SENT = ("udfs", "schemas")  # all that a worker runs of Millrace


def remote() -> str | None:
    """The server's address, where the environment names one."""
    return os.environ.get(REMOTE) or None


def open_remote(url: str, defaults: Mapping[str, str], settings: Mapping[str, str]) -> SparkSession:
    """A session with the server at ``url``, whose workers have Millrace's own files from here.

    Of the ``defaults`` those are set that a session may set; the others are the server's affair.
    Raises UsageError for a server that is not there, has no Delta Lake or refuses a setting.
    """
    _reach(url)
    spark = _session(url)
    try:
        _refuse_without_delta(spark, url)
        for key, value in defaults.items():
            if spark.conf.isModifiable(key):
                spark.conf.set(key, value)
        for key, value in settings.items():
            spark.conf.set(key, value)
    except PySparkException as error:
        spark.stop()
        raise UsageError(
            "the Spark Connect server refuses a session",
            got=str(error).splitlines()[0],
            next="set it where the server is started",
        ) from error
    except UsageError:
        spark.stop()
        raise
    _send_package(spark)
    return spark


def _session(url: str) -> SparkSession:
    try:
        spark: SparkSession = SparkSession.builder.remote(url).create()
    except ImportError as error:
        raise UsageError(
            "Spark Connect needs packages that are not installed",
            got=str(error).splitlines()[0],
            next="pip install -U millrace",
        ) from error
    return spark


def _reach(url: str) -> None:
    """Ask whether anybody listens there: PySpark would try for ten minutes without a word."""
    address = urlparse(url)
    if address.scheme != "sc" or not address.hostname:
        raise UsageError(f"{REMOTE} is no server's address", got=url, allowed="sc://HOST:PORT")
    try:
        socket.create_connection(
            (address.hostname, address.port or _DEFAULT_PORT), _REACH_S
        ).close()
    except OSError as error:
        raise UsageError(
            "no Spark Connect server answers",
            got=f"{url}: {error}",
            next=f"start it, or correct {REMOTE}",
        ) from error


def _refuse_without_delta(spark: SparkSession, url: str) -> None:
    extensions = spark.conf.get("spark.sql.extensions", "") or ""
    if "DeltaSparkSessionExtension" not in extensions:
        raise UsageError(
            "the Spark Connect server cannot write Delta tables",
            got=f"{url}: spark.sql.extensions is {extensions or 'not set'}",
            allowed="io.delta.sql.DeltaSparkSessionExtension",
            next="start it with the settings of conf/spark/connect.conf",
        )


def _send_package(spark: SparkSession) -> None:
    """Send this Millrace's files to the session's workers: they run what the driver runs."""
    home = Path(str(files("millrace"))).resolve()
    modules = [home / "__init__.py"]
    for name in _SENT:
        modules += sorted((home / name).rglob("*.py"))
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "millrace.zip"
        with zipfile.ZipFile(package, "w", zipfile.ZIP_DEFLATED) as packed:
            for path in modules:
                packed.write(path, path.relative_to(home.parent))
        spark.addArtifacts(str(package), pyfile=True)
