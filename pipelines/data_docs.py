"""Great Expectations' Data Docs of a run: its own pages, of the results that the validations table has.

The pages take their styles and scripts from the web, as Great Expectations writes them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from pipelines import sink
from schemas.errors import RunFailed
from schemas.tables import VALIDATIONS

_TUTORIAL = ("images/*.gif", "images/iterative-dev-loop.png")  # 3 MB that the pages do not show


def path_of(lake: Path, run_id: str) -> Path:
    """Where a run's Data Docs are, or will be."""
    return lake / "_reports" / run_id / "data_docs" / "index.html"


def write(lake: Path, run_id: str) -> Path | None:
    """Write the Data Docs of a run; None where its contract has no expectations.

    A run that is resumed writes them again. Raises RunFailed where Great Expectations cannot.
    """
    rows = sink.values(lake, VALIDATIONS, [("run_id", "=", run_id)], ["rule", "result", "at"])
    told = [row for row in rows if row["result"] is not None]
    if not told:
        return None
    index = path_of(lake, run_id)
    shutil.rmtree(index.parent, ignore_errors=True)
    _build(index.parent, run_id, [json.loads(row["result"]) for row in told], told[0]["at"])
    if not any((index.parent / "validations").rglob("*.html")):  # it logs what fails, and goes on
        raise RunFailed("Great Expectations wrote no page of the results", got=str(index.parent))
    for pattern in _TUTORIAL:
        for picture in (index.parent / "static").glob(pattern):
            picture.unlink()
    return index


def _build(folder: Path, run_id: str, results: Sequence[dict[str, Any]], at: datetime) -> None:
    import great_expectations as gx
    from great_expectations.core.run_identifier import RunIdentifier
    from great_expectations.data_context.types import resource_identifiers as identifiers

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    context.add_data_docs_site(
        "run",
        {
            "class_name": "SiteBuilder",
            "show_how_to_buttons": False,
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
            "store_backend": {
                "class_name": "TupleFilesystemStoreBackend",
                "base_directory": str(folder.absolute()),
            },
        },
    )
    run = RunIdentifier(run_name=run_id, run_time=at)
    found = _suite_result(results, run, at)
    suite = gx.ExpectationSuite(name=found.suite_name)
    for result in found.results:
        suite.add_expectation_configuration(result.expectation_config)
    context.suites.add(suite)
    name = identifiers.ExpectationSuiteIdentifier(found.suite_name)
    context.validation_results_store.set(
        identifiers.ValidationResultIdentifier(name, run, batch_identifier="input"), found
    )
    context.build_data_docs(site_names=["run"])


def _suite_result(results: Sequence[dict[str, Any]], run: Any, at: datetime) -> Any:
    """The results as Great Expectations' result of a suite."""
    import great_expectations as gx
    from great_expectations.core.expectation_validation_result import (
        ExpectationSuiteValidationResult,
        expectationValidationResultSchema,
    )

    met = sum(result["success"] for result in results)
    return ExpectationSuiteValidationResult(
        success=met == len(results),
        results=[expectationValidationResultSchema.load(result) for result in results],
        suite_name="contract",
        statistics={
            "evaluated_expectations": len(results),
            "successful_expectations": met,
            "unsuccessful_expectations": len(results) - met,
            "success_percent": met / len(results) * 100,
        },
        meta={
            "great_expectations_version": gx.__version__,
            "run_id": run,
            "validation_time": at.isoformat(),
        },
    )
