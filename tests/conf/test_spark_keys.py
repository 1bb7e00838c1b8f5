"""Every key in conf/spark/*.conf is one that Spark, or Delta, has: asked of their own registers in the JVM."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

CONF = Path(__file__).resolve().parents[2] / "conf" / "spark"
FILES = sorted(CONF.glob("*.conf"))

# The objects that fill the register when they are loaded.
REGISTERS = (
    "org.apache.spark.internal.config.package$",
    "org.apache.spark.internal.config.Python$",
    "org.apache.spark.internal.config.UI$",
    "org.apache.spark.internal.config.Status$",
    "org.apache.spark.deploy.k8s.Config$",
    "org.apache.spark.deploy.yarn.config.package$",
    "org.apache.spark.sql.internal.SQLConf$",
    "org.apache.spark.sql.internal.StaticSQLConf$",
    "org.apache.spark.sql.connect.config.Connect$",
    "org.apache.spark.sql.delta.sources.DeltaSQLConf$",
)
# Keys that have a name of the user's in them, and those that Spark reads by a plain text of its own.
FAMILIES = re.compile(
    r"spark\.(executor|task|driver)\.resource\.[a-z]+\.(amount|discoveryScript|vendor)"
    r"|spark\.kubernetes\.(driver|executor)\.volumes\.persistentVolumeClaim\.[a-z]+"
    r"\.(options\.claimName|mount\.path|mount\.readOnly)"
    r"|spark\.kubernetes\.(driver|executor)\.secretKeyRef\.[A-Z_]+"
    r"|spark\.executorEnv\.[A-Z_]+"
    r"|spark\.yarn\.appMasterEnv\.[A-Z_]+"
    r"|spark\.sql\.catalog\.spark_catalog"
    r"|spark\.master"
)


def keys(path: Path) -> list[str]:
    lines = path.read_text("utf-8").splitlines()
    return [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]


@pytest.fixture(scope="module")
def known(spark: SparkSession) -> Any:
    """Whether a key is in the register."""
    jvm: Any = spark.sparkContext._jvm
    loader = jvm.java.lang.Thread.currentThread().getContextClassLoader()
    for name in REGISTERS:
        jvm.java.lang.Class.forName(name, True, loader)
    find = jvm.org.apache.spark.internal.config.ConfigEntry.findEntry
    return lambda key: find(key) is not None


@pytest.mark.spark
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_key_is_one_that_spark_or_delta_has(path: Path, known: Any) -> None:
    assert [key for key in keys(path) if not known(key) and not FAMILIES.fullmatch(key)] == []


@pytest.mark.spark
@pytest.mark.parametrize("wrong", ["spark.executor.memoryOverHead", "spark.yarn.maxAppAttempt"])
def test_a_key_that_is_misspelled_is_found(wrong: str, known: Any) -> None:
    assert not known(wrong)
    assert not FAMILIES.fullmatch(wrong)
