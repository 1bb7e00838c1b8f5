"""``python -m tests.conformance.embedded_answers ASKED.json ANSWERS.json``: the embedded engine evaluates.

A process of its own: PySpark's functions are either Spark's or Spark Connect's, in one process.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from millrace.pipelines.spark import embedded

AT_ONCE = 50  # expressions in one query


def answers(spark: SparkSession, input_path: str, expressions: Sequence[str]) -> dict[str, Any]:
    """By expression, its type and its values in the order of ``n``; or its error."""
    found: dict[str, Any] = {}
    for at in range(0, len(expressions), AT_ONCE):
        some = expressions[at : at + AT_ONCE]
        asked = _asked(spark, input_path, some)
        if "error" in asked:  # of any of them
            for one in some:
                found |= {one: _asked(spark, input_path, [one]).get(one, ["error", None])}
        else:
            found |= asked
    return found


def _asked(spark: SparkSession, input_path: str, some: Sequence[str]) -> dict[str, Any]:
    columns = [f"{one} AS v{number}" for number, one in enumerate(some)]
    try:
        frame = spark.read.parquet(input_path).selectExpr("n", *columns)
        rows = sorted(frame.collect(), key=lambda row: int(row["n"]))
    except Exception as error:  # noqa: BLE001 - of two engines, what they raise is not the same
        return {"error": str(error)}
    return {
        one: [
            frame.schema[f"v{number}"].dataType.simpleString(),
            [_plain(row[f"v{number}"]) for row in rows],
        ]
        for number, one in enumerate(some)
    }


def _plain(value: Any) -> Any:
    """A value that is equal to another only where both are the same to the bit."""
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else repr(value)
    if isinstance(value, bytes | bytearray):
        return bytes(value).hex()
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return None if value is None else repr(value)


def main() -> None:
    """Answer what is asked."""
    asked, out = Path(sys.argv[1]), Path(sys.argv[2])
    content = json.loads(asked.read_text("utf-8"))
    with tempfile.TemporaryDirectory() as logs:
        spark = embedded.open_embedded(Path(logs), {})
        try:
            found = answers(spark, content["input"], content["expressions"])
        finally:
            embedded.close(spark)
    out.write_text(json.dumps(found), "utf-8")


if __name__ == "__main__":
    main()
