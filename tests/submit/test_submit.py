"""spark-submit, for real, from an environment that has Millrace's dependencies and not Millrace."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pyspark
import pytest

from pipelines.query import query

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.spark, pytest.mark.slow]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that `make dist` builds, under the name that Spark hands on to its workers."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "uv", "build", "--quiet", "--wheel", "--no-build-isolation"]
    subprocess.run([*command, "--out-dir", str(out), str(ROOT)], check=True)
    (wheel,) = out.glob("millrace-*.whl")
    return wheel.rename(out / "millrace.zip")


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that finds the dependencies but no Millrace: what is not submitted is not there."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    site = next((folder / "lib").glob("python*/site-packages"))
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"])
    check = [python, "-I", "-c", "import pyspark, torch; import udfs"]
    found = subprocess.run(check, capture_output=True, check=False)
    assert b"No module named 'udfs'" in found.stderr
    return python


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits demonstration's model and input."""
    pytest.importorskip("sklearn", reason="the demo extra (scikit-learn) is not installed")
    folder = tmp_path_factory.mktemp("digits")
    subprocess.run(
        [sys.executable, "-m", "examples.digits", "--out", str(folder)], check=True, cwd=ROOT
    )
    return folder


def submit(
    master: str, package: Path, python: Path, digits: Path, lake: Path, *overrides: str
) -> subprocess.CompletedProcess[str]:
    home = Path(pyspark.__file__).parent
    sets = {
        "source.path": digits / "input",
        "model.uri": digits / "model",
        "output.path": lake,
        "cost.prices": ROOT / "conf" / "prices" / "example.yaml",
    }
    command = [
        str(home / "bin" / "spark-submit"),
        *("--master", master, "--properties-file", str(ROOT / "conf" / "spark" / "local.conf")),
        *("--py-files", str(package)),
        *(
            str(ROOT / "pipelines" / "score.py"),
            str(ROOT / "conf" / "jobs" / "digits.yaml"),
            "--json",
        ),
        *[word for key, value in sets.items() for word in ("--set", f"{key}={value}")],
        *[word for override in overrides for word in ("--set", override)],
    ]
    environment = {
        **os.environ,
        "SPARK_HOME": str(home),
        "PYSPARK_PYTHON": str(python),
        "PYSPARK_DRIVER_PYTHON": str(python),
    }
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=environment,
        cwd=digits,
        timeout=280,
        check=False,
    )


@pytest.mark.parametrize("master", ["local[2,4]", "local-cluster[2,1,1024]"])
def test_spark_submit_runs_the_job_with_nothing_but_the_package(
    master: str, package: Path, bare_python: Path, digits: Path, tmp_path: Path
) -> None:
    done = submit(master, package, bare_python, digits, tmp_path / "lake")

    assert done.returncode == 0, done.stderr[-3000:]
    summary = json.loads(done.stdout.splitlines()[-1])
    assert (summary["rows_read"], summary["scored"], summary["quarantined"]) == (1797, 1792, 5)
    assert summary["books_closed"] is True
    (counted,) = query(tmp_path / "lake", "SELECT count(*) AS n FROM digits_current").to_pylist()
    assert counted["n"] == 1792


def test_spark_submit_ends_with_the_exit_code_of_the_gate(
    package: Path, bare_python: Path, digits: Path, tmp_path: Path
) -> None:
    refused = submit(
        "local[2,4]",
        package,
        bare_python,
        digits,
        tmp_path / "lake",
        "contract.max_quarantined=0.001",
    )

    assert refused.returncode == 3, refused.stderr[-3000:]
    error = json.loads(refused.stdout.splitlines()[-1])
    assert error["exit_code"] == 3
    assert "max_quarantined" in error["got"]
