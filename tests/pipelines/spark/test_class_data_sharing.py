"""The archive of the JVM's classes: each environment's own, and in use."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from millrace.pipelines.spark import class_data_sharing


def test_an_environment_has_an_archive_of_its_own() -> None:
    assert class_data_sharing.path().is_relative_to(sys.prefix)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux tells what is mapped")
def test_a_session_maps_its_classes_from_it(spark: SparkSession) -> None:
    """A JVM that refuses the archive, for other JARs or options, says nothing and starts slowly."""
    assert class_data_sharing.path().is_file(), "make setup makes it"
    jvm = spark._jvm.ProcessHandle.current().pid()  # type: ignore[union-attr]
    assert str(class_data_sharing.path()) in Path(f"/proc/{jvm}/maps").read_text("utf-8")
