#!/usr/bin/env bash
# What: on Spark, a null in value_set turns ExpectColumnValuesToBeInSet off. Every row passes.
# Where: Great Expectations with a Spark DataFrame. isin() with a null gives null for other values, which is not counted.
# The pandas engine finds the unexpected values. ExpectColumnDistinctValuesToBeInSet has the same behaviour.
# Versions: great-expectations 1.24.1, pyspark 4.2.0, pandas 2.3.3.
# Why it matters: a value set read from a nullable column or a YAML list with an empty item accepts everything.
# Instead: remove nulls from value_set. The expectation ignores null rows anyway.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --no-compile pyspark==4.2.0 great-expectations==1.24.1 pandas==2.3.3 pyarrow==26.0.1
export PYSPARK_PYTHON="$folder/venv/bin/python" SPARK_LOCAL_IP=127.0.0.1
export GX_ANALYTICS_ENABLED=false

cat > finding.py <<'PY'
import sys

import great_expectations as gx
import great_expectations.expectations as gxe
import pandas as pd
from pyspark.sql import SparkSession

spark = (
    SparkSession.builder.master("local[1]")
    .config("spark.ui.enabled", "false")
    .config("spark.ui.showConsoleProgress", "false")
    .getOrCreate()
)
spark.sparkContext.setLogLevel("OFF")

context = gx.get_context(mode="ephemeral")
context.variables.progress_bars = None


def batch(source, data):
    asset = source.add_dataframe_asset("asset")
    return asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": data})


rows = ["x", "y", "x"]
on_pandas = batch(context.data_sources.add_pandas("pandas"), pd.DataFrame({"c": rows}))
on_spark = batch(
    context.data_sources.add_spark("spark"), spark.createDataFrame([(row,) for row in rows], "c string")
)


def outcome(data, expectation, value_set):
    result = data.validate(expectation(column="c", value_set=value_set))
    return result.success, result.result["unexpected_count"]


in_set, distinct = gxe.ExpectColumnValuesToBeInSet, gxe.ExpectColumnDistinctValuesToBeInSet
pandas_null = outcome(on_pandas, in_set, ["q", None])
spark_plain = outcome(on_spark, in_set, ["q"])
spark_null = outcome(on_spark, in_set, ["q", None])
spark_distinct = outcome(on_spark, distinct, ["q", None])
print("great_expectations", gx.__version__, "pyspark", spark.version, "pandas", pd.__version__)
print("rows: x, y, x. expected: (success, unexpected) = (False, 3) for both value sets")
print("seen, pandas, ['q', None]:", pandas_null)
print("seen, Spark, ['q']:", spark_plain)
print("seen, Spark, ['q', None]:", spark_null)
print("seen, Spark, distinct values, ['q', None]:", spark_distinct)

checks = [
    ("pandas does not find 3 unexpected values", pandas_null == (False, 3)),
    ("Spark does not find 3 unexpected values without a null", spark_plain == (False, 3)),
    ("Spark finds unexpected values with a null in the set", spark_null == (True, 0)),
    ("Spark finds unexpected distinct values", spark_distinct == (True, 0)),
]
changes = [text for text, holds in checks if not holds]
for text in changes:
    print("CHANGED:", text)
sys.exit(1 if changes else 0)
PY

status=0
venv/bin/python finding.py 2> log || status=$?
if [ "$status" -ne 0 ]; then
    tail -n 5 log >&2
    echo "$(basename "$0"): the behaviour differs from the description" >&2
    exit 1
fi
