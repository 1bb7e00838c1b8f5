"""Where a lake's tables and files are: the one place that knows the names of its folders."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from millrace.schemas.errors import UsageError

if TYPE_CHECKING:  # a query needs no job, whose import takes a third of its time
    from millrace.schemas.config import Job


@dataclass(frozen=True)
class LakeLocation:
    """The folder of `output.path`: one folder for each table, and Millrace's own, which begin with _."""

    root: Path

    @staticmethod
    def of(job: Job) -> LakeLocation:
        """Return the lake that a job writes, by its absolute path."""
        return LakeLocation(Path(job.output.path).absolute())

    def __str__(self) -> str:
        return str(self.root)

    @property
    def exists(self) -> bool:
        """Whether the folder is there."""
        return self.root.is_dir()

    def uri(self, table: str) -> str:
        """Return a table's address, as delta-rs and Spark take it."""
        return str(self.folder(table))

    def folder(self, table: str) -> Path:
        """Return a table's folder, there or not."""
        return self.root / table

    def has_table(self, table: str) -> bool:
        """Whether a folder of that name has a Delta log."""
        return (self.folder(table) / "_delta_log").is_dir()

    @property
    def is_table(self) -> bool:
        """Whether the folder itself is a Delta table."""
        return self.has_table("")

    def tables(self) -> list[str]:
        """List the names of the Delta tables, sorted."""
        return sorted(
            path.name
            for path in self.root.iterdir()
            if not path.name.startswith(("_", ".")) and self.has_table(path.name)
        )

    @property
    def staging(self) -> Path:
        """Scratch files, a folder for each run."""
        return self.root / "_staging"

    @property
    def claims(self) -> Path:
        """Who is at work on which run."""
        return self.root / "_claims"

    @property
    def models(self) -> Path:
        """Conversions of models, a folder for each model."""
        return self.root / "_models"

    @property
    def logs(self) -> Path:
        """Spark's log, and its event logs."""
        return self.root / "_logs"

    @property
    def spark_log(self) -> Path:
        """The log that has a failure's full stack traces."""
        return self.logs / "spark.log"

    @property
    def index_page(self) -> Path:
        """The page about all runs, there or not."""
        return self._reports / "index.html"

    def report_page(self, run_id: str) -> Path:
        """Return where a run's report is, or will be. Raises UsageError for an id that is no file name."""
        if not re.fullmatch(r"[\w-][\w.-]*", run_id):
            raise UsageError(
                "a run id cannot name a file", got=run_id, allowed="letters, digits, _ - ."
            )
        return self._reports / f"{run_id}.html"

    def validation_page(self, run_id: str) -> Path:
        """Return where the page about a run's rules is, or will be. Raises UsageError as `report_page`."""
        return self.report_page(f"{run_id}-validation")

    def data_docs(self, run_id: str) -> Path:
        """Return where the first page of a run's Data Docs is, or will be."""
        return self._reports / run_id / "data_docs" / "index.html"

    @property
    def _reports(self) -> Path:
        return self.root / "_reports"
