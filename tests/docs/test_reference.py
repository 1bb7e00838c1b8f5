"""The reference is what the code says."""

from __future__ import annotations

from tests.docs.reference import PAGE, page


def test_the_reference_is_that_of_the_code() -> None:
    assert page() == PAGE.read_text("utf-8"), "make reference"
