"""Stored results as one page of Markdown with plots beside it; made from the JSON files alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benches import figures, plots, stored, without_spark
from benches.contestants import CONTESTANTS, PLAIN
from benches.figures import STEADY
from benches.targets import Target, targets
from benches.workloads import WORKLOADS

NAME = "README.md"
TITLES = {"docs": "texts", "digits": "images", "payments": "tabular rows"}
HEADER = (
    "", "steady rows/s", "÷ plain loop", "whole process s", "first prediction s", "CPU s",
    "peak memory MB", "mean memory MB", "answers", "rounds",
)  # fmt: skip
SCALING_HEADER = (
    "", "rows", "files", "workers", "workers' time s", "stage s", "steady rows/s", "whole process s",
    "peak memory MB", "of it workers MB", "rounds",
)  # fmt: skip
READING = (
    "Every contestant is a process of its own, from its start to its committed output, on the same "
    "Parquet files, in turn with the others; figures are medians of rounds. *Steady* is from the "
    "first model that is ready to the last batch computed, of all workers. *First prediction* is the "
    "end of the first model batch in any worker, counted from the process's start. Memory is the PSS "
    "of the whole process tree, sampled once a second. Two workers of one thread each, batches of 64 "
    "(tabular rows: 4,096) for everybody who does not choose them himself. Answers are compared with "
    "the plain loop's on all rows: numbers within 1e-4 (`fp32` of Millrace: 1e-5), reduced precision "
    "within the stated tolerance (cosine ≥ 0.999, equal labels ≥ 99.9 %)."
)
SCALING_READING = (
    "*Workers' time* is what the meters have beyond start-up and load, shared by the workers; "
    "*stage* leaves out the same, and has Spark's scheduling and Delta's commit besides."
)


def write(folder: Path) -> None:
    """Write the page and its plots for the results in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    found = stored.results(folder)
    for name, drawing in drawings(found):
        (folder / name).write_text(drawing, "utf-8")
    generation, host = (without_spark.results(folder, prefix) for prefix in ("generation", "host"))
    (folder / NAME).write_text(page(found, generation, host), "utf-8")


def page(
    results: Sequence[Mapping[str, Any]],
    generation: Sequence[Mapping[str, Any]] = (),
    host: Sequence[Mapping[str, Any]] = (),
) -> str:
    """The page: for each machine its targets, then a table for each result."""
    lines = ["# Measured", "", "Written by `make bench` from the JSON files here; do not edit."]
    every = [*results, *generation, *host]
    for cpu, ours in _by_machine(results).items():
        here = [one for one in every if _machine(one) == cpu]
        written, hosted = ([one for one in some if one in here] for some in (generation, host))
        lines += ["", f"## {cpu}", "", _versions(ours[0]), "", READING, ""]
        lines += _targets(
            [
                *targets({(one["kind"], one["workload"]): one for one in ours}),
                *without_spark.targets(written, hosted),
            ]
        )
        for one in ours:
            lines += ["", *(_scaling(one) if one["kind"] == "scaling" else _contest(one))]
        for title, header, rows in without_spark.tables(written, hosted):
            lines += ["", f"### {title}", "", *markdown(header, rows)]
    return "\n".join(lines) + "\n"


def drawings(results: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """File names and SVG texts: steady speed and whole process of each contest."""
    for one in results:
        if one["kind"] != "contest":
            continue
        what, middle = TITLES[one["workload"]], figures.middle(one)
        for figure, title, unit in (
            (STEADY, "rows a second, start-up left out", ""),
            ("wall_s", "seconds from process start to committed output", " s"),
        ):
            lines = [
                plots.Bar(
                    CONTESTANTS[name].title.replace("`", ""),
                    values[figure],
                    f"{values[figure]:,.0f}{unit}",
                    CONTESTANTS[name].kind,
                )
                for name, values in middle.items()
            ]
            yield _plot_name(one, figure), plots.bars(f"{one['rows']:,} {what}: {title}", lines)


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table: the first column to the left, numbers to the right."""
    marks = ["---", *["---:"] * (len(header) - 1)]
    return [f"| {' | '.join(cells)} |" for cells in [header, marks, *rows]]


def _by_machine(results: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    order = [*WORKLOADS]
    for one in sorted(results, key=lambda r: (r["kind"], order.index(r["workload"]))):
        found.setdefault(_machine(one), []).append(one)
    return found


def _machine(result: Mapping[str, Any]) -> str:
    machine = result["machine"]
    return f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB"


def _targets(found: Sequence[Target]) -> list[str]:
    rows = [
        [
            one.what,
            one.asked,
            "not measured" if one.measured is None else f"{one.measured:.3g}",
            {True: "yes", False: "**no**", None: ""}[one.is_met],
            one.note,
        ]
        for one in found
    ]
    return [
        "### Targets",
        "",
        *markdown(("", "target", "measured", "met", "with"), rows),
    ]


def _contest(result: Mapping[str, Any]) -> list[str]:
    middle, name = figures.middle(result), result["workload"]
    loop = figures.best_loop(result)
    lines = [
        f"### {TITLES[name]}: {result['rows']:,} rows",
        "",
        _sentence(result["about"]),
        "",
        *markdown(HEADER, [_line(one, values, result) for one, values in middle.items()]),
        "",
    ]
    if loop:
        lines += [f"The best loop within tolerance is the {CONTESTANTS[loop].title}.", ""]
    lines += [f"{CONTESTANTS[n].title} failed: {text}" for n, text in result["failures"].items()]
    lines += [*_laps(middle), f"![steady]({_plot_name(result, STEADY)})", ""]
    return [*lines, f"![whole process]({_plot_name(result, 'wall_s')})"]


def _line(name: str, middle: Mapping[str, Any], result: Mapping[str, Any]) -> list[str]:
    to_plain = figures.ratio(result, name, PLAIN, STEADY)
    ways = sorted({one["computed_with"] for one in result["runs"][name] if "computed_with" in one})
    return [
        CONTESTANTS[name].title + (f" ({'; '.join(ways)})" if ways else ""),
        f"{middle[STEADY]:,.0f}",
        "" if to_plain is None else f"{to_plain:.2f}",
        f"{middle['wall_s']:.1f}",
        f"{middle['first_prediction_s']:.1f}",
        f"{middle['cpu_s']:.1f}",
        f"{middle['peak_pss_bytes'] / 1e6:,.0f}",
        f"{middle['mean_pss_bytes'] / 1e6:,.0f}",
        "right" if figures.is_right(result, name) else "**WRONG**",
        str(len(result["runs"][name])),
    ]


def _laps(middle: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Where Millrace's workers spent their time, by their own meters."""
    ours = {name: one["laps"] for name, one in middle.items() if one.get("laps")}
    if not ours:
        return []
    laps = [name for name in next(iter(ours.values())) if name not in ("wall_s", "cpu_s")]
    rows = [
        [CONTESTANTS[name].title, *(f"{one[lap] / one['wall_s']:.1%}" for lap in laps)]
        for name, one in ours.items()
    ]
    header = ("share of the workers' time", *(lap.removesuffix("_s") for lap in laps))
    return [*markdown(header, rows), ""]


def _scaling(result: Mapping[str, Any]) -> list[str]:
    rows = []
    for name, runs in result["runs"].items():
        if not runs:
            continue
        one = figures.medians(runs)
        rows.append(
            [
                name.replace("_", " "),
                f"{one['rows']:,.0f}",
                f"{one['files']:.0f}",
                f"{one['slots']:.0f}",
                f"{one['worked_s']:.1f}",
                f"{one['stage_steady_s']:.1f}",
                f"{one[STEADY]:,.0f}",
                f"{one['wall_s']:.1f}",
                f"{one['peak_pss_bytes'] / 1e6:,.0f}",
                f"{one['peak_pss_bytes_of'].get('workers', 0) / 1e6:,.0f}",
                str(len(runs)),
            ]
        )
    return [
        f"### {TITLES[result['workload']]}: Millrace, torch in bf16: more rows, workers and partitions",
        "",
        _sentence(result["about"]),
        "",
        *markdown(SCALING_HEADER, rows),
        "",
        SCALING_READING,
    ]


def _plot_name(result: Mapping[str, Any], figure: str) -> str:
    stem = stored.path_of(result, Path()).stem
    return f"{stem}-{figure.removesuffix('_rows_per_s').removesuffix('_s')}.svg"


def _versions(result: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    commits = {run["commit"] for runs in result["runs"].values() for run in runs}
    return f"With {versions}; Millrace at {', '.join(sorted(commits))}."


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."
