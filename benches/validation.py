"""What validation costs: against one bare aggregate of the same predicates, and against Great Expectations.

All of it on one table of 1,000,000 rows and 12 columns in Parquet, in one warm session of two slots,
the ways in turn with each other: ``python -m benches.validation`` writes
``benches/results/validation-<cpu>.json``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from benches.process import ROOT
from benches.stored import noted
from millrace.pipelines.spark.session import open_session
from millrace.pipelines.validation.contract_check import examine
from millrace.pipelines.validation.expectations import Expectations
from millrace.pipelines.validation.gx_adapter import build_suite
from millrace.pipelines.validation.verdict import Verdict
from millrace.schemas.contract import Contract

ROWS = 1_000_000
FILES = 4
SCALE = 30  # rules of the comparisons,
FEW, MANY = 10, 100  # and of how it grows
ROUNDS = 5
RESULTS = ROOT / "benches" / "results"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
TARGETS = {
    "of the bare aggregate": 1.3,
    "of a Checkpoint, BOOLEAN_ONLY": 0.6,
    "of a Checkpoint, SUMMARY": 0.25,
    "growth from 10 to 100 rules": 3.0,
}
COLUMNS = {
    "id": "bigint", "amount": "double", "tax": "double", "score": "double", "age": "int",
    "items": "int", "stars": "int", "country": "string", "code": "string", "mail": "string",
    "state": "string", "seen": "timestamp",
}  # fmt: skip
Calls = list[dict[str, Any]]


def write_table(folder: Path, rows: int = ROWS) -> Path:
    """The table, the same each time: about one value in a hundred is missing, and few are wrong."""
    drawn = np.random.default_rng(7)

    def some(values: Any) -> pa.Array:
        return pa.array(values, mask=drawn.random(rows) < 0.01)

    def one_of(names: Sequence[str], shares: Sequence[float]) -> Any:
        return np.array(names)[drawn.choice(len(names), rows, p=shares)]

    start = np.datetime64("2026-01-01", "us")
    table = pa.table(
        {
            "id": pa.array(np.arange(rows), pa.int64()),
            "amount": some(drawn.gamma(2, 50, rows)),
            "tax": some(drawn.gamma(2, 5, rows)),
            "score": some(drawn.normal(0, 1, rows)),
            "age": some(drawn.integers(0, 100, rows, dtype=np.int32)),
            "items": some(drawn.integers(0, 20, rows, dtype=np.int32)),
            "stars": some(drawn.integers(1, 6, rows, dtype=np.int32)),
            "country": some(one_of(["DE", "FR", "US", "GB", "XX"], [0.3, 0.2, 0.3, 0.19, 0.01])),
            "code": some([f"AB-{n:06d}" for n in drawn.integers(0, 999_999, rows)]),
            "mail": some([f"user{n}@example.org" for n in drawn.integers(0, 10**6, rows)]),
            "state": some(one_of(["new", "paid", "sent"], [0.3, 0.3, 0.4])),
            "seen": some(start + drawn.integers(0, 10**7, rows).astype("timedelta64[s]")),
        }
    )
    seen = table.schema.get_field_index("seen")
    table = table.set_column(seen, "seen", table["seen"].cast(pa.timestamp("us", tz="UTC")))
    folder.mkdir(parents=True, exist_ok=True)
    for part in range(FILES):
        pq.write_table(table.slice(part * rows // FILES, rows // FILES), folder / f"{part}.parquet")
    return folder


def calls(count: int) -> Calls:
    """So many expectations of single rows; beyond 30 the same with other limits."""
    return [call for round_ in range(count // 30 + 1) for call in _thirty(round_)][:count]


def _thirty(round_: int) -> Calls:
    def about(kind: str, column: str, **arguments: Any) -> dict[str, Any]:
        return {
            "expect": f"ExpectColumn{kind}",
            "column": column,
            "severity": "warning",
            **arguments,
        }

    def between(column: str, least: float, most: float) -> dict[str, Any]:
        return about("ValuesToBeBetween", column, min_value=least - round_, max_value=most + round_)

    def pair(one: str, other: str) -> dict[str, Any]:
        names = {"column_A": one, "column_B": other, "or_equal": bool(round_ % 2)}
        return {"expect": "ExpectColumnPairValuesAToBeGreaterThanB", "severity": "warning", **names}

    more = [f"more {round_}"]
    within = {"expect": "ExpectSelectColumnValuesToBeUniqueWithinRecord", "severity": "warning"}
    first = [  # of all columns, however few rules there are
        pair("amount", "tax"), between("score", -4, 4), between("age", 0, 99), pair("items", "stars"),
        about("ValuesToBeInSet", "country", value_set=["DE", "FR", "US", "GB", *more]),
        about("ValuesToBeInSet", "state", value_set=["new", "paid", "sent", *more]),
        about("ValuesToMatchRegex", "code", regex=f"^[A-Z]{{2}}-[0-9]{{6,{6 + round_}}}$"),
        about("ValueLengthsToBeBetween", "mail", min_value=5, max_value=60 + round_),
        about("ValuesToBeBetween", "seen", min_value=f"2025-12-{1 + round_:02d}"),
        between("id", 0, 10**9),
    ]  # fmt: skip
    missing = [
        about("ValuesToNotBeNull", name, mostly=1 - round_ / 100) for name in list(COLUMNS)[:8]
    ]
    rest = [
        between("amount", 0, 400), between("tax", 0, 60), between("items", 0, 19), between("stars", 1, 5),
        about("ValuesToNotBeInSet", "country", value_set=["XX", *more]),
        about("ValuesToMatchRegex", "mail", regex=f"^[^@]+@[^@]+[.][a-z]{{1,{9 + round_}}}$"),
        about("ValuesToNotMatchRegex", "mail", regex=f"[ ,;]{{{1 + round_}}}"),
        about("ValueLengthsToEqual", "code", value=9 + round_),
        about("ValueLengthsToBeBetween", "country", min_value=2, max_value=2 + round_),
        pair("amount", "score"),
        about("ValuesToMatchRegexList", "code", regex_list=["^AB", f"[0-9]{{{1 + round_}}}$"]),
        {**within, "column_list": ["items", "age"], "mostly": 1 - round_ / 100},
    ]  # fmt: skip
    return [*first, *missing, *rest]


def contract_of(count: int) -> Contract:
    """The table's contract with so many expectations, each of which tags rows."""
    columns = {name: {"type": kind} for name, kind in COLUMNS.items()}
    return Contract.model_validate({"columns": columns, "expectations": calls(count)})


def ours(rows: DataFrame, count: int) -> Verdict:
    """Validation as a run does it: the split's counts, and Great Expectations' results."""
    contract = contract_of(count)
    expectations = Expectations(rows, contract)
    rules = contract.row_rules(())
    _, verdict = examine(
        rows, (contract, rules), {}, (expectations, expectations.validate_with_spark), NOW
    )
    return verdict


def predicates(rows: DataFrame, count: int) -> list[Column]:
    """The predicates of single rows, ready: what the bare aggregate is given."""
    contract = contract_of(count)
    names = [rule.name for rule in contract.row_rules(())]
    said = Expectations(rows, contract).predicates(names)
    return [one for one in said.values() if isinstance(one, Column)]


def bare(rows: DataFrame, broken: Sequence[Column]) -> list[int]:
    """How many rows break each: one aggregate, and nothing else."""
    counts = [F.count_if(one).alias(f"r{place}") for place, one in enumerate(broken)]
    return list(rows.agg(*counts).collect()[0])


def checkpoint(rows: DataFrame, count: int, result_format: str) -> list[Any]:
    """Great Expectations' Checkpoint over the same expectations; its results."""
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    source = context.data_sources.add_spark("input", persist=False)
    batch = source.add_dataframe_asset("rows").add_batch_definition_whole_dataframe("all")
    suite = context.suites.add(build_suite(contract_of(count).expectations))
    asked = gx.ValidationDefinition(name="all", data=batch, suite=suite)
    context.validation_definitions.add(asked)
    made = gx.Checkpoint(name="all", validation_definitions=[asked], result_format=result_format)
    ran = context.checkpoints.add(made).run(batch_parameters={"dataframe": rows})
    (found,) = ran.run_results.values()
    return list(found.results)


def measure(spark: SparkSession, folder: Path, rounds: int) -> dict[str, Any]:
    """Seconds of each way, round by round, the first of which warms up and is left out."""
    rows = spark.read.parquet(str(folder))
    ready = {count: predicates(rows, count) for count in (FEW, SCALE, MANY)}
    ways: dict[str, Callable[[], Any]] = {
        "bare": lambda: bare(rows, ready[SCALE]),
        "ours": lambda: ours(rows, SCALE),
        "BOOLEAN_ONLY": lambda: checkpoint(rows, SCALE, "BOOLEAN_ONLY"),
        "SUMMARY": lambda: checkpoint(rows, SCALE, "SUMMARY"),
        "ours, 10 rules": lambda: ours(rows, FEW),
        "ours, 100 rules": lambda: ours(rows, MANY),
        "bare, 10 rules": lambda: bare(rows, ready[FEW]),
        "bare, 100 rules": lambda: bare(rows, ready[MANY]),
    }
    took: dict[str, list[float]] = {name: [] for name in ways}
    for round_ in range(rounds + 1):
        answers = {}
        for name, way in ways.items():
            began = time.perf_counter()
            answers[name] = way()
            if round_:
                took[name].append(round(time.perf_counter() - began, 4))
        _compare(answers)
        print(round_, {name: times[-1:] for name, times in took.items()}, flush=True)
    return {"rows": rows.count(), "columns": len(COLUMNS), "seconds": took}


def _compare(answers: dict[str, Any]) -> None:
    """All ways have counted the same; a Checkpoint has an order of its own."""
    counted = [result.failed for result in answers["ours"].results]
    summary = [result.result["unexpected_count"] for result in answers["SUMMARY"]]
    met = [result.passed for result in answers["ours"].results]
    assert counted == answers["bare"]
    assert sorted(counted) == sorted(summary), (counted, summary)
    assert sorted(met) == sorted(result.success for result in answers["BOOLEAN_ONLY"])


def ratios(seconds: dict[str, list[float]]) -> dict[str, float]:
    """Ours by the others, of medians."""
    median = {name: statistics.median(times) for name, times in seconds.items()}
    found = {
        "of the bare aggregate": median["ours"] / median["bare"],
        "of a Checkpoint, BOOLEAN_ONLY": median["ours"] / median["BOOLEAN_ONLY"],
        "of a Checkpoint, SUMMARY": median["ours"] / median["SUMMARY"],
        "growth from 10 to 100 rules": median["ours, 100 rules"] / median["ours, 10 rules"],
        "the bare aggregate's growth": median["bare, 100 rules"] / median["bare, 10 rules"],
    }
    return {name: round(ratio, 3) for name, ratio in found.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the table, measure, store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=ROOT / "build" / "bench")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    asked = parser.parse_args(arguments)
    folder = write_table(asked.cache / "validation", asked.rows)
    spark = open_session("millrace-bench", asked.cache / "logs", master="local[2]")
    found = measure(spark, folder, asked.rounds)
    spark.stop()
    told = {**found, "rules": SCALE, "ratios": ratios(found["seconds"]), "targets": TARGETS}
    print(json.dumps(told["ratios"]))
    noted("validation", told, asked.out)


if __name__ == "__main__":
    main()
