"""The contract with PySpark: what we use and it does not document is there, and means what it meant."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
import pytest
from pyspark import SparkContext
from pyspark.sql import SparkSession
from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema

from millrace.pipelines.spark.pyspark_internals import is_connect, worker_variable

USED = {
    "pyspark": ["SparkContext._gateway", "SparkContext._jvm"],
    "pyspark.daemon": ["manager"],
    "pyspark.logger": ["PySparkLogger.getLogger"],
    "pyspark.sql.classic.column": ["Column"],
    "pyspark.sql.classic.dataframe": ["DataFrame"],
    "pyspark.sql.connect.session": ["SparkSession"],
    "pyspark.sql.pandas.map_ops": ["PandasMapOpsMixin"],
    "pyspark.sql.pandas.types": ["from_arrow_schema", "to_arrow_schema"],
}


def test_pyspark_has_what_is_used_of_it() -> None:
    assert version("pyspark") == "4.2.0", "read USED again, then pin it here"
    gone: list[str] = []
    for module, names in USED.items():
        if module == "pyspark.sql.connect.session":
            pytest.importorskip("grpc")
        for name in names:
            found = import_module(module)
            for part in name.split("."):
                found = getattr(found, part, gone)
            if found is gone:
                gone.append(f"{module}.{name}")
    assert gone == []


def test_a_schema_comes_back_as_it_went() -> None:
    schema = pa.schema([("n", pa.int64()), ("t", pa.timestamp("us", "UTC"))])
    assert to_arrow_schema(from_arrow_schema(schema), timezone="UTC").names == ["n", "t"]


@pytest.mark.spark
def test_the_gateway_has_the_jvm_s_process(spark: SparkSession) -> None:
    gateway = SparkContext._gateway
    assert gateway is not None
    assert gateway.proc.poll() is None
    assert gateway.proc.stdin is not None
    assert not is_connect(spark)


@pytest.mark.spark
def test_a_worker_has_the_variable_inside_the_block_alone(spark: SparkSession) -> None:
    with worker_variable(spark, "MILLRACE_CONTRACT_TEST", "1"):
        assert spark.sparkContext.environment["MILLRACE_CONTRACT_TEST"] == "1"
    assert "MILLRACE_CONTRACT_TEST" not in spark.sparkContext.environment


_QUERY_LOG = """
import sys
from pathlib import Path
from pyspark.logger import PySparkLogger
from millrace.pipelines.spark.pyspark_internals import log_queries_to
PySparkLogger.getLogger("SQLQueryContextLogger")
log_queries_to(Path(sys.argv[1]))
PySparkLogger.getLogger("SQLQueryContextLogger").error("a failed query")
"""


def test_a_failed_query_is_logged_to_the_file_and_not_printed(tmp_path: Path) -> None:
    log = tmp_path / "spark.log"
    done = subprocess.run(
        [sys.executable, "-c", _QUERY_LOG, str(log)], capture_output=True, text=True, check=True
    )
    assert "a failed query" in log.read_text("utf-8")
    assert "a failed query" not in done.stdout + done.stderr
