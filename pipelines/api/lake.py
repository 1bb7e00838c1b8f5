"""A lake as Python reads it: SQL over its tables, a job's predictions, its runs, reports and bills.

A query imports little: what a method needs beyond it, the method imports.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from millrace.pipelines.lake.location import LakeLocation
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
    from millrace.pipelines.monitoring.drift_report import DriftReport
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

    location: LakeLocation

    @property
    def path(self) -> Path:
        """Return the folder, a job's `output.path`."""
        return self.location.root

    def sql(self, statement: str, *, limit: int | None = None, offset: int = 0) -> pa.Table:
        """Return the rows of one read-only query over tables and views: docs/SQL.md lists them.

        Args:
            statement: a SELECT, SHOW TABLES or DESCRIBE.
            limit: at most so many rows; None: all of them.
            offset: leave out so many rows first.

        Raises:
            QueryError: the statement is no read-only query over known tables.
        """
        names = listed(self.location, statement)
        if names is not None:
            return names.slice(offset, limit)
        return query(self.location, statement, limit=limit, offset=offset)

    def predictions(self, job: str) -> pa.Table:
        """Return every prediction of a job, by its name. Raises UsageError where there is none."""
        from millrace.schemas.tables import predictions_name

        name = predictions_name(job)
        if name not in (there := tables(self.location)):
            prefix = predictions_name("")
            jobs = sorted(one.removeprefix(prefix) for one in there if one.startswith(prefix))
            raise UsageError(
                "the lake has no predictions of this job",
                got=job,
                allowed=", ".join(jobs) or "a job that has run",
                next="millrace.run(job)",
            )
        return query(self.location, f"SELECT * FROM {quoted(name)}")  # noqa: S608 - a name, quoted

    def runs(self) -> pa.Table:
        """Return the runs as their last events left them, the newest first."""
        return query(self.location, "SELECT * FROM runs_current ORDER BY at DESC, run_id")

    def find(self, run_id: str | None = None) -> str:
        """Return the whole id of a run.

        Args:
            run_id: the first characters of its id; None: the latest run.

        Raises:
            UsageError: it matches no run, or several.
        """
        from millrace.pipelines.query.run_lookup import find

        return find(self.location, run_id)

    def run(self, run_id: str | None = None) -> dict[str, Any]:
        """Return one run as `millrace show --json` prints it: events, rules, cost by kind.

        Args:
            run_id: as of `find`.

        Raises:
            UsageError: as of `find`.
        """
        from millrace.pipelines.api.run_record import as_object
        from millrace.pipelines.query.run_details import read as read_details

        return as_object(self.location, read_details(self.location, self.find(run_id)))

    def report(self, run_id: str | None = None) -> Path:
        """Write a run's HTML report anew from the tables, and return its path.

        Args:
            run_id: as of `find`.

        Raises:
            UsageError: as of `find`.
        """
        from millrace.pipelines.reporting import run_page

        return run_page.write(self.location, self.find(run_id))

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
        if VALIDATIONS.name in tables(self.location) and read_details(self.location, found).rules:
            rules = validation_page.write(self.location, found, show_examples=show_examples)
        return ReportPages(found, run_page.write(self.location, found), rules, self.overview())

    def overview(self) -> Path:
        """Write the HTML page about all runs anew, and return its path."""
        from millrace.pipelines.reporting import lake_page

        return lake_page.write(self.location)

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
        return repricing.reprice(self.location, run_id, book, overrides, dry_run=dry_run)

    def rebuild_ledger(self, run_id: str, logs: Path | None = None) -> Rebuilt:
        """Rebuild a run's ledger rows from meters and event logs, and write the missing ones.

        Args:
            run_id: as of `find`.
            logs: the folder of Spark's event logs; None: the lake's own.

        Raises:
            UsageError: no such run, or its books are open.
        """
        from millrace.pipelines.accounting import ledger_rebuild

        return ledger_rebuild.rebuild(self.location, self.find(run_id), logs)

    def export_focus(self, out: str | Path, run_id: str | None = None) -> Exported:
        """Write the ledger in the terms of the FOCUS specification: CSV, Parquet and metadata.

        Args:
            out: the folder to write; files of the same name are replaced.
            run_id: only this run's rows; None: all.

        Raises:
            UsageError: no ledger, no such run, or the folder cannot be written.
        """
        from millrace.pipelines.accounting import focus_export

        return focus_export.export(self.location, Path(out), run_id)

    def vacuum(self, older_than: timedelta = WEEK, *, remove: bool = False) -> Vacuumed:
        """List what the lake no longer needs, and with ``remove`` delete it.

        Args:
            older_than: younger data files stay; longer than any run took.
            remove: delete the leftovers; never what a live run or a resume needs.

        Raises:
            UsageError: no lake, or a run took longer than that.
        """
        from millrace.pipelines.lake.vacuum import vacuum

        return vacuum(self.location, older_than, remove=remove)

    def set_baseline(self, run_id: str) -> dict[str, Any]:
        """Compare later runs of the run's job with it, and return the row of table `baselines`.

        Args:
            run_id: as of `find`.

        Raises:
            UsageError: the run is not done, or its job has no section `monitor`.
        """
        from millrace.pipelines.monitoring import baseline

        return baseline.set_(self.location, self.find(run_id), datetime.now(UTC))

    def baselines(self) -> list[dict[str, Any]]:
        """List the baselines that were set; `applies` is true for the last one of each job."""
        from millrace.pipelines.monitoring import baseline

        pins = baseline.pins(self.location)
        last = {pin["job"]: pin["number"] for pin in pins}
        return [{**pin, "applies": last[pin["job"]] == pin["number"]} for pin in pins]

    def drift(
        self, run_id: str | None = None, against: str | None = None, *, units: bool = False
    ) -> DriftReport:
        """Compare a run's input and outputs with its baseline's, by column.

        Args:
            run_id: as of `find`.
            against: another run; None: as the run itself was compared.
            units: the outputs of each unit, too.

        Raises:
            UsageError: no such run, no baseline, or a run without profiles.
        """
        from millrace.pipelines.monitoring.drift_report import drift_report

        other = None if against is None else self.find(against)
        return drift_report(self.location, self.find(run_id), other, units=units)

    def metrics(self) -> str:
        """Return the lake's metrics in Prometheus' text format. Raises QueryError if it has no run."""
        from millrace.pipelines.observability.metrics import exposition

        return exposition(self.location)

    def _repr_html_(self) -> str:
        names = ["run_id", "state", "at", "rows_read", "scored", "quarantined", "failed", "cost"]
        rows = self.runs().select(names).slice(0, _SHOWN).to_pylist()
        return html_table(f"lake {self.location}", names, [list(row.values()) for row in rows])


def read(lake: str | Path) -> Lake:
    """Return the lake in a folder, an `output.path` of a job. Raises UsageError where there is none."""
    from millrace.schemas.tables import RUNS

    location = LakeLocation(Path(lake))
    if RUNS.name not in tables(location):
        raise UsageError(
            "no lake there", got=str(location), allowed="the output.path of a job that has run",
            next="millrace.run(job) makes it",
        )  # fmt: skip
    return Lake(location)
