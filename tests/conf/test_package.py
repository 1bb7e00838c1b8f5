"""What an installation brings: the licence's whole text, its classifiers, and the shipped files of conf/."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "uv", "build", "--quiet", "--wheel", "--no-build-isolation"]
    subprocess.run([*command, "--out-dir", str(out), str(ROOT)], check=True)
    (made,) = out.glob("millrace-*.whl")
    return zipfile.ZipFile(made)


def test_the_wheel_has_the_licence_and_says_which_it_is(wheel: zipfile.ZipFile) -> None:
    (about,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    metadata = Parser().parsestr(wheel.read(about).decode())
    (licence,) = [name for name in wheel.namelist() if name.endswith("licenses/LICENSE")]

    assert (metadata["License-Expression"], metadata["License-File"]) == ("Apache-2.0", "LICENSE")
    assert wheel.read(licence) == (ROOT / "LICENSE").read_bytes()
    assert b"END OF TERMS AND CONDITIONS" in wheel.read(licence)
    assert "Programming Language :: Python :: 3.11" in (metadata.get_all("Classifier") or [])


def test_the_wheel_has_every_price_book_and_job(wheel: zipfile.ZipFile) -> None:
    shipped = {f"millrace/{path.relative_to(ROOT)}" for path in (ROOT / "conf").rglob("*.yaml")}
    assert len(shipped) >= 6
    assert shipped <= set(wheel.namelist())


def test_the_wheel_brings_one_import_name(wheel: zipfile.ZipFile) -> None:
    (record,) = [name for name in wheel.namelist() if name.endswith(".dist-info/RECORD")]
    tops = {line.split("/")[0] for line in wheel.read(record).decode().splitlines()}
    assert tops == {"millrace", record.split("/")[0]}

    modules = {
        f"millrace/{path.relative_to(ROOT)}"
        for package in ("pipelines", "udfs", "schemas", "examples")
        for path in (ROOT / package).rglob("*.py")
    }
    assert len(modules) > 250
    assert modules <= set(wheel.namelist())
