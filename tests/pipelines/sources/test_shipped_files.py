"""Price books by name: in a checkout, in an installation, and in the zip that spark-submit sends."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from millrace.pipelines.sources.shipped_files import price_book
from millrace.schemas.errors import UsageError

ROOT = Path(__file__).resolve().parents[3]


def test_a_shipped_book_is_found_by_its_name_and_ones_own_by_its_path() -> None:
    own = price_book(str(ROOT / "conf" / "prices" / "gpu.yaml"))
    assert price_book("gpu") == own
    assert price_book("example") != own


@pytest.mark.parametrize("option", ["cost.prices", "--prices"])
def test_a_book_that_is_not_there_names_the_key_and_the_books_that_are(option: str) -> None:
    with pytest.raises(
        UsageError, match=f"{option}: no such price book; did you mean 'example'"
    ) as told:
        price_book("conf/prices/exmple.yaml", option)
    assert told.value.got == "conf/prices/exmple.yaml"
    assert "example, gpu" in (told.value.allowed or "")


def test_a_book_is_found_in_a_package_that_is_a_zip(tmp_path: Path) -> None:
    package = tmp_path / "millrace.zip"
    with zipfile.ZipFile(package, "w") as packed:
        packed.write(ROOT / "millrace" / "__init__.py", "millrace/__init__.py")
        for name in ("pipelines", "schemas"):
            for path in (ROOT / name).rglob("*.py"):
                packed.write(path, Path("millrace") / path.relative_to(ROOT))
        for path in (ROOT / "conf" / "prices").glob("*.yaml"):
            packed.write(path, Path("millrace") / path.relative_to(ROOT))
    asked = (
        f"import sys; sys.path.insert(0, {str(package)!r})\n"
        "from millrace.pipelines.sources import shipped_files as shipped; print(shipped.__file__, shipped.price_book('gpu').currency)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", asked],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        str(package / "millrace" / "pipelines" / "sources" / "shipped_files.py"),
        "USD",
    ]
