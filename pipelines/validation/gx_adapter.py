"""The adapter to Great Expectations: only this module and gx_metrics.py import it.

Many of these calls are not public. The release is therefore pinned in pyproject.toml, and
`tests/conformance/test_expectations.py` fails when the library changes a name or an argument that is used
here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame

from millrace.schemas import column_literals
from millrace.schemas.errors import UsageError
from millrace.schemas.expectation import Expectation

_INDEX = "place"  # an expectation's position in its suite, in its meta


def build(expectation: Expectation) -> Any:
    """Return Great Expectations' object for an expectation of a contract.

    Raises:
        UsageError: Great Expectations refuses the arguments.
    """
    from great_expectations import expectations as library

    kind = getattr(library, expectation.expect)
    try:
        return kind(**_in_utc(expectation), severity=expectation.severity)
    except (TypeError, ValueError) as error:  # pydantic's ValidationError is a ValueError
        raise UsageError(
            f"{expectation.expect} does not take these arguments",
            got=str(error),
            next="correct contract.expectations",
        ) from None


def _in_utc(expectation: Expectation) -> dict[str, Any]:
    """Return the arguments with every time in UTC: a naive one would be in the driver's zone.

    Great Expectations compares a column's extremes itself, and collects them without a zone.
    """
    has_zone = expectation.evaluation != "counted"

    def in_utc(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [in_utc(one) for one in value]
        if not isinstance(value, datetime):
            return value
        aware = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        return aware if has_zone else aware.replace(tzinfo=None)

    arguments = expectation.arguments
    for name in ("min_value", "max_value"):
        bound = column_literals.moment(arguments.get(name))
        if isinstance(bound, datetime):  # a text, maybe, which Great Expectations would parse
            arguments[name] = bound
    return {name: in_utc(value) for name, value in arguments.items()}


def build_suite(expectations: Sequence[Expectation]) -> Any:
    """Return a suite of these expectations; the meta of each has its position."""
    import great_expectations as gx

    objects = [build(one) for one in expectations]
    for index, one in enumerate(objects):
        one.meta = {_INDEX: index}
    return gx.ExpectationSuite(name="contract", expectations=objects)


def validate_with_spark(rows: DataFrame, suite: Any, result_format: str = "SUMMARY") -> list[Any]:
    """Let Great Expectations validate ``rows`` by its own Spark jobs; results in the suite's order."""
    source = _context().data_sources.add_spark("input", persist=False)
    definition = source.add_dataframe_asset("rows").add_batch_definition_whole_dataframe("all")
    batch = definition.get_batch({"dataframe": rows})
    by_index = {}
    for result in batch.validate(suite, result_format=result_format).results:
        # Failed computations come first, whatever the suite's order.
        by_index[result.expectation_config.meta.pop(_INDEX)] = result
    return [by_index[index] for index in range(len(suite.expectations))]


def failed_result(expectation: Any, reason: str) -> Any:
    """Return the result of an expectation that could not be computed, which is not met."""
    from great_expectations.core.expectation_validation_result import ExpectationValidationResult

    exception = {"raised_exception": True, "exception_message": reason, "exception_traceback": ""}
    return ExpectationValidationResult(
        success=False, expectation_config=expectation.configuration, exception_info=exception
    )


def _context() -> Any:
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    return context


def build_data_docs(
    folder: Path, run_id: str, results: Sequence[dict[str, Any]], at: datetime
) -> None:
    """Write the library's Data Docs of stored results; it logs a page that fails, and raises nothing.

    Args:
        folder: The site's root.
        run_id: The run's name on the pages.
        results: Results as JSON objects.
        at: The time of validation.
    """
    import great_expectations as gx
    from great_expectations.core.run_identifier import RunIdentifier
    from great_expectations.data_context.types import resource_identifiers as identifiers

    context = _context()
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
