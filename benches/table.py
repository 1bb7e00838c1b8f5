"""Stored results as a page of Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benches.figures import MILLRACE, PLAIN, PREDICT_BATCH

NAMES = {
    PLAIN: "plain torch loop",
    PREDICT_BATCH: "pyspark `predict_batch_udf`",
    MILLRACE: "Millrace, the whole job",
}
HEADER = (
    "", "inference rows/s", "of plain", "without start-up rows/s", "of plain",
    "whole process s", "CPU s", "peak memory MB", "answers",
)  # fmt: skip
READING = (
    "Read a line from left to right: rows a second of the inference stage with process start and "
    "model load, the same without them, then what the whole process took from its start to its end."
)


def page(results: Iterable[Mapping[str, Any]]) -> str:
    """The page: how to read it, then a table for each result."""
    sections = [section(one) for one in results]
    head = [
        "# Measured comparisons",
        "",
        "Written by `make bench` from the JSON files here; do not edit.",
        "",
        READING,
    ]
    return "\n".join([*head, *(line for lines in sections for line in ["", *lines])]) + "\n"


def section(result: Mapping[str, Any]) -> list[str]:
    """One workload on one machine."""
    machine, versions = result["machine"], result["versions"]
    many = f"{result['rounds_run']} rounds" if result["rounds_run"] > 1 else "one round"
    with_versions = ", ".join(f"{name} {number}" for name, number in versions.items())
    how = (
        f"{_sentence(result['about'])} {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['memory_gb']} GB. Medians of {many}, interleaved. {with_versions}."
    )
    return [
        f"## {result['workload']}: {result['rows']:,} rows",
        "",
        how,
        "",
        *markdown(HEADER, [_line(name, result) for name in result["medians"]]),
        "",
        _verdict(result),
    ]


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table: the first column to the left, numbers to the right."""
    marks = ["---", *["---:"] * (len(header) - 1)]
    return [f"| {' | '.join(cells)} |" for cells in [header, marks, *rows]]


def _line(name: str, result: Mapping[str, Any]) -> list[str]:
    middle = result["medians"][name]
    to_plain = result["ratios"].get(f"{name}/{PLAIN}", {})
    all_equal = all(one[name]["answers"]["equal"] for one in result["rounds"])
    return [
        NAMES.get(name, name),
        f"{middle['rows_per_s']:,.0f}",
        _multiple(to_plain.get("rows_per_s")),
        f"{middle['steady_rows_per_s']:,.0f}",
        _multiple(to_plain.get("steady_rows_per_s")),
        f"{middle['wall_s']:.1f}",
        f"{middle['cpu_s']:.1f}",
        f"{middle['peak_pss_bytes'] / 1e6:,.0f}",
        "equal" if all_equal else "DIFFERENT",
    ]


def _verdict(result: Mapping[str, Any]) -> str:
    said = []
    if versus := result["ratios"].get(f"{MILLRACE}/{PREDICT_BATCH}"):
        said.append(
            f"Millrace against `predict_batch_udf`: {versus['rows_per_s']:.2f} x the rows a second in "
            f"the inference stage, {versus['steady_rows_per_s']:.2f} x without start-up, "
            f"{versus['whole_process_rows_per_s']:.2f} x as a whole process, which for Millrace "
            "includes validation, quarantine, ledger and report."
        )
    coverage = result["medians"].get(MILLRACE, {}).get("ledger_coverage")
    if coverage is not None:
        said.append(f"Its meters account for {coverage:.1%} of the executors' time in that stage.")
    return " ".join(said)


def _multiple(ratio: float | None) -> str:
    return "1" if ratio is None else f"{ratio:.2f}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."
