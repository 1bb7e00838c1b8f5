"""What is scored, as plain facts: every contestant reads them, in whichever environment it lives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Workload:
    """One input, one model, and what of a prediction is compared."""

    name: str
    about: str
    rows: int  # unless asked otherwise
    most_rows: int | None  # what there is; None where it can be repeated
    files: int
    batch_rows: int  # of everybody who does not choose it himself
    key: str
    columns: tuple[str, ...]  # what the model reads
    keep: tuple[str, ...]  # what everybody carries over to the predictions
    outputs: tuple[str, ...]
    compared: str  # the output whose numbers are compared; labels are compared where there are any
    job: str  # the job file that Millrace runs

    @property
    def carried(self) -> tuple[str, ...]:
        """The input's columns that are in the predictions too."""
        return (self.key, *self.keep)


def parts(folder: Path) -> list[Path]:
    """A folder's Parquet files, by name."""
    return sorted(folder.glob("*.parquet"))


WORKLOADS = {
    "docs": Workload(
        name="docs",
        about=(
            "paragraphs of 5 to 400 words, MiniLM with 22.7 million weights: much arithmetic a row. "
            "In the order they come, batches of 64 compute about 4 tokens for each real one; put "
            "together by length, about 1.1"
        ),
        rows=8192,
        most_rows=8192,
        files=8,
        batch_rows=64,
        key="paragraph_id",
        columns=("text",),
        keep=("source", "text"),
        outputs=("embedding",),
        compared="embedding",
        job="conf/jobs/docs.yaml",
    ),
    "digits": Workload(
        name="digits",
        about="28x28 images, a CNN of 0.2 million weights: little arithmetic a row",
        rows=200_000,
        most_rows=None,
        files=8,
        batch_rows=64,
        key="image_id",
        columns=("pixels",),
        keep=(),
        outputs=("label", "score", "probabilities"),
        compared="probabilities",
        job="conf/jobs/digits.yaml",
    ),
    "payments": Workload(
        name="payments",
        about="six numeric columns a row, an MLP of 9 thousand weights: next to no arithmetic a row",
        rows=1_000_000,
        most_rows=None,
        files=8,
        batch_rows=4096,  # 64 such rows cost more to call than to compute: nobody would
        key="payment_id",
        columns=("amount", "balance", "hour", "weekday", "account_days", "foreign"),
        keep=(),
        outputs=("value",),
        compared="value",
        job="benches/payments.yaml",
    ),
}
