"""The commands, as a user meets them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from millrace.pipelines.cli import main
from tests.helpers import image_table, images, job_of, pixel_mlp, write_parquet

ROOT = Path(__file__).resolve().parents[2]
KEYS = {
    "run_id", "state", "fingerprint", "input", "rows_read", "scored", "quarantined", "failed", "units_done",
    "units_total", "scored_now", "done_before", "wall_s", "infer_s", "model_load_s", "rows_per_s", "cost", "currency",
    "ledger_coverage", "books_closed", "gates", "saved_rows", "saved_s", "saved_cost", "lake", "report", "warnings", "backend",
    "precision", "computed_so_because", "energy_wh", "energy_wh_low", "energy_wh_high", "carbon_g",
    "forecast", "truncated",
}  # fmt: skip


def millrace(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "millrace.pipelines.cli", *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, timeout=240, check=False
    )


@pytest.fixture
def job_file(tmp_path: Path) -> Path:
    model = pixel_mlp(tmp_path / "model")
    write_parquet(tmp_path / "input", image_table([*images(20), b"short"]))
    job = job_of(tmp_path, model).model_dump(mode="json", exclude_unset=True)
    job["contract"]["rules"] = [{"name": "whole", "holds": "length(pixels) = 16"}]
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(job))
    return path


@pytest.mark.parametrize("command", sorted(main.commands))
def test_every_command_has_help_with_an_example(command: str) -> None:
    helped = millrace(command, "--help")

    assert helped.returncode == 0
    assert re.search(rf"^ +millrace {command}\b", helped.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    "words", [["walk"], ["run"], ["run", "nope.yaml"], ["run", "--what"], ["demo", "dogs"], ["sql"],
              ["demo", "digits", "--ask", "why?"]],
)  # fmt: skip
def test_wrong_words_exit_with_two_and_one_error(words: list[str]) -> None:
    wrong = millrace(*words)

    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "error" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def test_a_typo_is_told_on_the_error_stream(job_file: Path) -> None:
    job_file.write_text(job_file.read_text().replace("output:", "ouput:"))

    wrong = millrace("run", job_file)

    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "unknown key 'ouput'; did you mean 'output'?" in wrong.stderr


def test_an_error_is_one_json_object_when_asked_for(job_file: Path) -> None:
    wrong = millrace("run", job_file, "--set", "engine.batch=0", "--json")

    assert wrong.returncode == 2
    (line,) = wrong.stdout.splitlines()
    assert set(json.loads(line)) == {"error", "got", "allowed", "next", "exit_code"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("millrace re", {"register", "replay", "report", "reprice"}),
        ("millrace model ", {"convert", "import", "seal"}),
        ("millrace run --", {"--dry-run", "--fresh", "--set", "--json", "--log", "--help"}),
    ],
)
def test_a_shell_completes_commands_and_options(words: str, expected: set[str]) -> None:
    number = str(len(words.split(" ")) - 1)
    asked = {"_MILLRACE_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": number}
    found = subprocess.run(
        [sys.executable, "-c", "from millrace.pipelines.cli import main; main()"],
        env={**os.environ, **asked}, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert {line.split(",")[1] for line in found.stdout.splitlines()} == expected


def test_a_shell_gets_its_completion_script_and_help_says_how() -> None:
    found = subprocess.run(
        [sys.executable, "-c", "from millrace.pipelines.cli import main; main()"],
        env={**os.environ, "_MILLRACE_COMPLETE": "zsh_source"},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "#compdef millrace" in found.stdout
    assert "_MILLRACE_COMPLETE=bash_source millrace" in millrace("--help").stdout


@pytest.mark.spark
@pytest.mark.slow
def test_a_run_as_a_user_sees_it(job_file: Path) -> None:
    validated = millrace("validate", job_file)
    assert validated.returncode == 0, validated.stderr
    assert "21 rows, 1 quarantined" in validated.stdout

    ran = millrace("run", job_file)

    assert ran.returncode == 0, ran.stderr
    assert "21 read = 20 scored + 1 quarantined + 0 failed" in ran.stdout
    assert not re.search(
        r"WARN|INFO|log4j|SLF4J|\bivy\b|:: |\[Stage|jdk\.", ran.stdout + ran.stderr
    )
    lake = job_file.parent / "lake"
    again = millrace("run", job_file, "--json")
    assert again.returncode == 0
    (line,) = again.stdout.splitlines()
    summary = json.loads(line)
    assert set(summary) == KEYS
    assert summary["warnings"] == ["already done: nothing was scored again"]
    assert (summary["infer_s"], summary["scored_now"], summary["rows_per_s"]) == (0.0, 0, None)
    assert summary["done_before"] is not None
    assert Path(summary["report"]).read_text().startswith("<!doctype html>")

    runs = json.loads(millrace("runs", "--lake", lake, "--json").stdout)
    assert [(run["run_id"], run["state"]) for run in runs] == [(summary["run_id"], "done")]
    counted = millrace("sql", "SELECT count(*) AS n FROM tiny_current", "--lake", lake, "--json")
    assert json.loads(counted.stdout) == [{"n": 20}]
    assert (summary["rows_read"], summary["state"], summary["currency"]) == (21, "done", "USD")
    assert summary["books_closed"] is True
    shown = millrace("show", summary["run_id"][:10], "--lake", lake)
    assert (shown.returncode, summary["run_id"] in shown.stdout) == (0, True)
    assert millrace("report", summary["run_id"], "--lake", lake).stdout.strip().endswith(".html")
    written = millrace("sql", "INSERT INTO runs SELECT * FROM runs", "--lake", lake, "--json")
    assert (written.returncode, json.loads(written.stdout)["exit_code"]) == (2, 2)


def test_a_question_in_sql_waits_for_no_library_that_it_does_not_need() -> None:
    """Half of what it takes is imports; a job's schema alone would be a fifth more."""
    asked = "import sys, millrace.pipelines.cli, millrace.pipelines.commands.printing.query_rows; print(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", asked], check=True, capture_output=True, text=True
    ).stdout.split()
    assert {"pyarrow", "sqlglot"} <= set(found)
    for name in ("pydantic", "yaml", "pyspark", "torch", "pandas", "great_expectations"):
        assert name not in found
