"""A lake as Python reads it: SQL over its tables, a job's predictions, its runs, reports and bills.

A query imports little: what a method needs beyond it, the method imports.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from millrace.pipelines.query.engine import query
from millrace.pipelines.query.statements import listed
from millrace.pipelines.query.views import quoted, tables
from millrace.schemas.errors import UsageError
from millrace.schemas.html import table as html_table

if TYPE_CHECKING:
    from millrace.pipelines.accounting.focus_export import Exported
    from millrace.pipelines.accounting.ledger_rebuild import Rebuilt
    from millrace.pipelines.accounting.repricing import Repriced
    from millrace.pipelines.lake.vacuum import Vacuumed
    from millrace.schemas.focus import Category

_SHOWN = 20  # runs
WEEK = timedelta(days=7)


@dataclass(frozen=True)
class ReportPages:
    """The HTML pages of a run: the run, its rules where it has any, and all runs of the lake."""

    run_id: str
    report: Path
    validation: Path | None
    index: Path


@dataclass(frozen=True)
class Lake:
    """The tables of a lake. Answers are Arrow tables: `.to_pandas()`, or `polars.from_arrow(...)`."""

    path: Path

    def sql(self, statement: str, *, limit: int | None = None, offset: int = 0) -> pa.Table:
        """Return the rows of one read-only query over tables and views: docs/SQL.md lists them.

        Args:
            statement: a SELECT, SHOW TABLES or DESCRIBE.
            limit: at most so many rows; None: all of them.
            offset: leave out so many rows first.

        Raises:
            QueryError: the statement is no read-only query over known tables.
        """
        names = listed(self.path, statement)
        if names is not None:
            return names.slice(offset, limit)
        return query(self.path, statement, limit=limit, offset=offset)

    def predictions(self, job: str) -> pa.Table:
        """Return every prediction of a job, by its name. Raises UsageError where there is none."""
        from millrace.schemas.tables import predictions_name

        name = predictions_name(job)
        if name not in (there := tables(self.path)):
            prefix = predictions_name("")
            jobs = sorted(one.removeprefix(prefix) for one in there if one.startswith(prefix))
            raise UsageError(
                "the lake has no predictions of this job",
                got=job,
                allowed=", ".join(jobs) or "a job that has run",
                next="millrace.run(job)",
            )
        return query(self.path, f"SELECT * FROM {quoted(name)}")  # noqa: S608 - a name, quoted

    def runs(self) -> pa.Table:
        """Return the runs as their last events left them, the newest first."""
        return query(self.path, "SELECT * FROM runs_current ORDER BY at DESC, run_id")

    def find(self, run_id: str | None = None) -> str:
        """Return the whole id of a run.

        Args:
            run_id: the first characters of its id; None: the latest run.

        Raises:
            UsageError: it matches no run, or several.
        """
        from millrace.pipelines.query.run_lookup import find

        return find(self.path, run_id)

    def run(self, run_id: str | None = None) -> dict[str, Any]:
        """Return one run as `millrace show --json` prints it: events, rules, cost by kind.

        Args:
            run_id: as of `find`.

        Raises:
            UsageError: as of `find`.
        """
        from millrace.pipelines.api.run_record import as_object
        from millrace.pipelines.query.run_details import read as read_details

        return as_object(self.path, read_details(self.path, self.find(run_id)))

    def report(self, run_id: str | None = None) -> Path:
        """Write a run's HTML report anew from the tables, and return its path.

        Args:
            run_id: as of `find`.

        Raises:
            UsageError: as of `find`.
        """
        from millrace.pipelines.reporting import run_page

        return run_page.write(self.path, self.find(run_id))

    def report_pages(
        self, run_id: str | None = None, *, show_examples: bool = False
    ) -> ReportPages:
        """Write the pages of a run anew: the run, its rules, all runs of the lake.

        Args:
            run_id: as of `find`.
            show_examples: the page about rules shows values and keys of quarantined rows.

        Raises:
            UsageError: as of `find`.
        """
        from millrace.pipelines.query.run_details import read as read_details
        from millrace.pipelines.reporting import run_page, validation_page
        from millrace.schemas.tables import VALIDATIONS

        found, rules = self.find(run_id), None
        if VALIDATIONS.name in tables(self.path) and read_details(self.path, found).rules:
            rules = validation_page.write(self.path, found, show_examples=show_examples)
        return ReportPages(found, run_page.write(self.path, found), rules, self.overview())

    def overview(self) -> Path:
        """Write the HTML page about all runs anew, and return its path."""
        from millrace.pipelines.reporting import lake_page

        return lake_page.write(self.path)

    def reprice(
        self,
        run_id: str,
        prices: str | Path,
        *,
        instance: str | None = None,
        region: str | None = None,
        category: Category | None = None,
        dry_run: bool = False,
    ) -> Repriced:
        """Price a run anew: append corrections to the ledger, and return the bill before and after.

        Args:
            run_id: the run, or the first characters of its id.
            prices: a price book's path, or the name of a shipped one.
            instance, region, category: the machine to price the run as; None: the run's own.
            dry_run: write nothing.

        Raises:
            UsageError: no such run, book or machine.
            RunFailed: another driver corrected the run at the same time.
        """
        from millrace.pipelines.accounting import repricing
        from millrace.pipelines.sources.shipped_files import price_book

        overrides = repricing.PricingOverrides(instance, region, category)
        book = price_book(str(prices), "--prices")
        return repricing.reprice(self.path, run_id, book, overrides, dry_run=dry_run)

    def rebuild_ledger(self, run_id: str, logs: Path | None = None) -> Rebuilt:
        """Rebuild a run's ledger rows from meters and event logs, and write the missing ones.

        Args:
            run_id: as of `find`.
            logs: the folder of Spark's event logs; None: the lake's own.

        Raises:
            UsageError: no such run, or its books are open.
        """
        from millrace.pipelines.accounting import ledger_rebuild

        return ledger_rebuild.rebuild(self.path, self.find(run_id), logs)

    def export_focus(self, out: str | Path, run_id: str | None = None) -> Exported:
        """Write the ledger in the terms of the FOCUS specification: CSV, Parquet and metadata.

        Args:
            out: the folder to write; files of the same name are replaced.
            run_id: only this run's rows; None: all.

        Raises:
            UsageError: no ledger, no such run, or the folder cannot be written.
        """
        from millrace.pipelines.accounting import focus_export

        return focus_export.export(self.path, Path(out), run_id)

    def vacuum(self, older_than: timedelta = WEEK, *, remove: bool = False) -> Vacuumed:
        """List what the lake no longer needs, and with ``remove`` delete it.

        Args:
            older_than: younger data files stay; longer than any run took.
            remove: delete the leftovers; never what a live run or a resume needs.

        Raises:
            UsageError: no lake, or a run took longer than that.
        """
        from millrace.pipelines.lake.vacuum import vacuum

        return vacuum(self.path, older_than, remove=remove)

    def _repr_html_(self) -> str:
        names = ["run_id", "state", "at", "rows_read", "scored", "quarantined", "failed", "cost"]
        rows = self.runs().select(names).slice(0, _SHOWN).to_pylist()
        return html_table(f"lake {self.path}", names, [list(row.values()) for row in rows])


def read(lake: str | Path) -> Lake:
    """Return the lake in a folder, an `output.path` of a job. Raises UsageError where there is none."""
    from millrace.schemas.tables import RUNS

    path = Path(lake)
    if RUNS.name not in tables(path):
        raise UsageError(
            "no lake there", got=str(path), allowed="the output.path of a job that has run",
            next="millrace.run(job) makes it",
        )  # fmt: skip
    return Lake(path)
