"""Whatever the working directory holds, Millrace, Spark's workers and its child processes run their own code."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.helpers import image_table, images, job_of, pixel_mlp, write_parquet
from tests.traps import set_traps

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = Path(sys.executable).with_name("millrace")


def millrace(
    folder: Path, *words: str | Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAM, *map(str, words)],
        capture_output=True, text=True, cwd=folder, timeout=240, check=False,
        env={**os.environ, **variables},
    )  # fmt: skip


@pytest.mark.spark
@pytest.mark.slow
def test_a_run_from_a_folder_with_packages_of_our_names_scores_every_row(tmp_path: Path) -> None:
    model = pixel_mlp(tmp_path / "model")
    write_parquet(tmp_path / "input", image_table([*images(20), b"short"]))
    made = job_of(tmp_path, model).model_dump(mode="json", exclude_unset=True)
    made["contract"]["rules"] = [{"name": "whole", "holds": "length(pixels) = 16"}]
    made["cost"]["prices"] = str(ROOT / "conf" / "prices" / "example.yaml")
    made["engine"] = {"backend": "torch", "precision": "fp32"}  # torch is imported ahead, too
    folder = set_traps(tmp_path / "own")
    (folder / "job.yaml").write_text(yaml.safe_dump(made))

    # PYTHONPATH is what the user asks for: the driver and the workers' server both read it.
    libraries, begun = tmp_path / "libraries", tmp_path / "begun"
    libraries.mkdir()
    began = f"import sys\nwith open({str(begun)!r}, 'a') as file: file.write(repr(sys.orig_argv) + '\\n')"
    (libraries / "sitecustomize.py").write_text(began)

    ran = millrace(folder, "run", "job.yaml", "--json", PYTHONPATH=str(libraries))

    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-2000:]
    summary = json.loads(ran.stdout.splitlines()[-1])
    assert (summary["rows_read"], summary["scored"], summary["quarantined"]) == (21, 20, 1)
    assert "millrace.udfs.worker.daemon" in begun.read_text()


def test_the_examples_of_a_demonstration_are_our_own(tmp_path: Path) -> None:
    asked = "from millrace.pipelines.commands.demo import _python; _python('millrace.examples.ask', ['--help'])"
    done = subprocess.run(
        [sys.executable, "-P", "-c", asked],
        capture_output=True, text=True, check=False, cwd=set_traps(tmp_path),
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "--question" in done.stdout


def test_no_child_process_puts_the_working_directory_on_its_path() -> None:
    """Each `python -m` that we start has -P in front of it."""
    found = []
    for package in ("pipelines", "udfs", "schemas", "examples"):
        for file in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                if isinstance(node, ast.List):
                    words = [e.value for e in node.elts if isinstance(e, ast.Constant)]
                    if "-m" in words:
                        found.append((str(file.relative_to(ROOT)), "-P" in words))
    assert len(found) >= 5
    assert [file for file, is_safe in found if not is_safe] == []
