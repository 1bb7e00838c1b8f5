"""Benchmarks use the packages' insides, and nothing but a benchmark runs them: each must import at least."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

NAMES = sorted(path.stem for path in (Path(__file__).parents[2] / "benches").glob("*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_imports(name: str) -> None:
    assert importlib.import_module(f"benches.{name}").__doc__
