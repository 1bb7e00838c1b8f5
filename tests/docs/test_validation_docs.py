"""What docs/VALIDATION.md lists is what a contract can name."""

from __future__ import annotations

import re

from millrace.schemas.expectations import EVALUATIONS
from tests.docs.test_snippets import ROOT


def test_the_page_lists_every_supported_expectation_once() -> None:
    page = (ROOT / "docs" / "VALIDATION.md").read_text("utf-8")
    table = "\n".join(line for line in page.splitlines() if line.startswith("| Of "))
    listed = re.findall(r"`(\w+)`", table)
    assert sorted(f"Expect{name}" for name in listed) == sorted(EVALUATIONS)
