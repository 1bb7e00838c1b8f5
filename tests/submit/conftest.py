"""What spark-submit needs: the package, and an environment with Millrace's dependencies and not Millrace."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.traps import set_traps

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that `make dist` builds, under the name that Spark hands on to its workers.

    Its folder, in which spark-submit runs, has packages and modules of names that we use, too.
    """
    out = set_traps(tmp_path_factory.mktemp("dist"))
    command = [sys.executable, "-m", "uv", "build", "--quiet", "--wheel", "--no-build-isolation"]
    subprocess.run([*command, "--out-dir", str(out), str(ROOT)], check=True)
    (wheel,) = out.glob("millrace-*.whl")
    return wheel.rename(out / "millrace.zip")


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that finds the dependencies but no Millrace: what is not submitted is not there."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    site = next((folder / "lib").glob("python*/site-packages"))
    found = [entry for entry in sys.path if entry.endswith("site-packages")]
    (site / "dependencies.pth").write_text("\n".join(found))
    check = [python, "-I", "-c", "import pyspark, torch; import millrace"]
    done = subprocess.run(check, capture_output=True, check=False)
    assert b"No module named 'millrace'" in done.stderr
    return python


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits demonstration's model and input."""
    pytest.importorskip("sklearn", reason="the demo extra (scikit-learn) is not installed")
    folder = tmp_path_factory.mktemp("digits")
    subprocess.run(
        [sys.executable, "-m", "millrace.examples.digits", "--out", str(folder)],
        check=True,
        cwd=ROOT,
    )
    return folder
