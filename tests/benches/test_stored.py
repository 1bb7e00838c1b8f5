from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from benches import compare, machine, page, stored
from benches.contest import commit
from benches.contestants import CONTESTANTS, MILLRACE, PLAIN
from benches.page import HEADER
from tests.benches.results_made import MACHINE, THREE, VERSIONS, a_result, a_round


def fresh(**changes: object) -> dict[str, object]:
    result = stored.empty("contest", "docs", "small things", 100)
    return {**result, "machine": MACHINE, "versions": VERSIONS, **changes}


def test_stored_rounds_are_resumed(tmp_path: Path) -> None:
    path = stored.store(a_result(THREE), tmp_path)
    assert path.name == "docs-some-cpu-2cores.json"
    assert stored.resumed(fresh(), tmp_path) == a_result(THREE)
    again = stored.resumed(fresh(), tmp_path, [MILLRACE])
    assert sorted(again["runs"]) == sorted(set(THREE) - {MILLRACE})


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"versions": {"torch": "2.14.0"}}, "versions"),
        ({"rows": 101}, "rows"),
        ({"machine": {**MACHINE, "memory_gb": 16.0}}, "machine"),
    ],
)
def test_rounds_of_other_versions_machines_or_rows_are_not_mixed(
    tmp_path: Path, changes: dict[str, object], named: str
) -> None:
    stored.store(a_result(THREE), tmp_path)
    with pytest.raises(stored.Other, match=f"another {named};"):
        stored.resumed(fresh(**changes), tmp_path)


def test_nothing_stored_is_a_fresh_start(tmp_path: Path) -> None:
    assert stored.resumed(fresh(), tmp_path) == fresh()


def test_the_page_is_made_from_the_stored_json_alone(tmp_path: Path) -> None:
    stored.store(a_result(THREE, tuned_bf16={}), tmp_path)
    (tmp_path / "other-2cores.json").write_text('{"not": "ours"}', "utf-8")
    page.write(tmp_path)
    text = (tmp_path / page.NAME).read_text("utf-8")
    assert "| plain torch loop | 14 | 1.00 | 28.0 | 3.0 | 35.0 | 700 | 500 | right | 3 |" in text
    assert "| Millrace, `auto` | 50 | 3.50 | 8.0 |" in text
    assert "Millrace at abc1234" in text
    drawn = [path.name for path in tmp_path.glob("*.svg")]
    assert sorted(drawn) == ["docs-some-cpu-2cores-steady.svg", "docs-some-cpu-2cores-wall.svg"]
    assert all(f"({name})" in text for name in drawn)


def test_every_line_of_a_table_has_as_many_cells_as_its_header() -> None:
    text = page.page([a_result(THREE)]).split("### texts")[1]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 3
    assert {line.count("|") for line in lines} == {len(HEADER) + 1}


def test_wrong_answers_and_failures_are_told_on_the_page() -> None:
    result = a_result(THREE, **{MILLRACE: {"right": False}})
    result["failures"] = {"daft": "Failed: exit code 1"}
    text = page.page([result])
    assert "**WRONG**" in text
    assert "Daft class UDF failed: Failed: exit code 1" in text


def test_a_plot_shows_every_contestant_and_escapes_what_it_writes() -> None:
    from xml.etree import ElementTree as ET

    from benches.plots import Bar, bars

    drawn = bars("a < b", [Bar("x & y", 2.0, "2", "peer"), Bar("z", 1.0, "1", "millrace")])
    tree = ET.fromstring(drawn)
    names = [one.text for one in tree.iter() if one.tag.endswith("text")]
    assert {"a < b", "x & y", "z", "2", "1"} <= set(names)
    widths = [float(one.get("width", 0)) for one in tree.iter() if one.tag.endswith("rect")][1:]
    assert widths[0] == pytest.approx(2 * widths[1])


@pytest.mark.parametrize(
    ("cpu", "name"),
    [
        ("Intel(R) Xeon(R) CPU @ 2.20GHz", "intel-xeon-cpu-2-20ghz"),
        ("AMD EPYC 7B13", "amd-epyc-7b13"),
        ("Apple M2", "apple-m2"),
    ],
)
def test_a_cpu_becomes_part_of_a_file_name(cpu: str, name: str) -> None:
    assert machine.slug(cpu) == name


def test_the_facts_of_the_machine_name_no_host_and_no_path() -> None:
    import platform

    told = json.dumps([machine.machine(), machine.versions()])
    assert platform.node() not in told or len(platform.node()) < 4
    assert str(Path.home()) not in told
    assert set(machine.machine()) == {"cpu", "cores", "memory_gb", "system"}


def test_peers_are_pinned_by_name_and_version_alone() -> None:
    lists = sorted(Path("benches/peers").glob("*.txt"))
    environments = {one.environment for one in CONTESTANTS.values() if one.environment}
    assert {path.stem for path in lists} == environments
    for path in lists:
        for line in path.read_text("utf-8").splitlines():
            name, _, number = line.partition("==")
            assert name.replace("-", "").replace(".", "").replace("_", "").isalnum(), line
            assert number[0].isdigit(), line
            assert "/" not in line, line
    assert {"ray", "daft", "mlflow-skinny", "sentence-transformers"} <= set(machine.versions())


def test_a_figure_knows_the_commit_that_it_was_measured_at() -> None:
    told = commit()
    assert told == "unknown" or len(told.rstrip("+")) >= 7
    if shutil.which("git") and Path(".git").exists() and not os.environ.get("CI"):
        assert told != "unknown"


def test_an_unknown_contestant_is_named_with_those_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        compare.main(["--contestants", "plain_torch,nobody"])
    told = capsys.readouterr().err
    assert "nobody" in told
    assert PLAIN in told


def test_generation_and_host_are_on_the_page_with_their_targets(tmp_path: Path) -> None:
    stored.store(a_result(THREE), tmp_path)
    slow = {"wall_s": 9.0, "rows_per_s": 22.2, "times_one_by_one": 1.0, "texts_that_differ": 0}
    ours = {"wall_s": 2.0, "rows_per_s": 100.0, "times_one_by_one": 4.5, "texts_that_differ": 1}
    generation = {
        "what": "200 prompts",
        "medians": {"millrace": ours, "generate_one_by_one": slow},
        "machine": MACHINE,
    }
    names = ("bare loop", "1 clients", "2 clients", "4 clients", "8 clients")
    host = {
        "workload": "docs",
        "rows_per_s": dict.fromkeys(names, 60.0),
        "four_clients_of_one": 0.96,
        "least": 0.95,
        "machine": MACHINE,
    }
    (tmp_path / "generation-some-cpu.json").write_text(json.dumps(generation), "utf-8")
    (tmp_path / "host-docs-some-cpu-2cores.json").write_text(json.dumps(host), "utf-8")
    page.write(tmp_path)
    text = (tmp_path / page.NAME).read_text("utf-8")
    assert "| generation: rate ÷ `generate` one by one | ≥ 3 | 4.5 | yes | 200 prompts |" in text
    assert "| generation: texts that differ from it | ≤ 0 | 1 | **no** |  |" in text
    assert (
        "| host on the CPU, docs: rate with 4 clients ÷ with one | ≥ 0.95 | 0.96 | yes |  |" in text
    )
    assert "| docs | 60 | 60 | 60 | 60 | 60 |" in text


def test_scaling_has_a_table_of_its_own_beside_the_contest(tmp_path: Path) -> None:
    result = stored.empty("scaling", "docs", "more rows", 25) | {
        "machine": MACHINE,
        "versions": VERSIONS,
    }
    result["runs"] = {
        "rows_1x": [a_round(2.0, worked_s=1.0, files=8)],
        "rows_4x": [a_round(9.0, rows=400, worked_s=4.1, files=8)],
    }
    assert stored.store(result, tmp_path).name == "scaling-docs-some-cpu-2cores.json"
    page.write(tmp_path)
    text = (tmp_path / page.NAME).read_text("utf-8")
    assert "| rows 4x | 400 | 8 | 2 | 4.1 | 9.0 | 44 | 36.0 | 700 | 600 | 1 |" in text
    assert "workers' time beyond start-up grows by | ≥ 3.8, ≤ 4.2 | 4.1 | yes |" in text
