"""Great Expectations' metrics as Spark columns, and its results from their values: the rest of the adapter.

These calls are not public. The release is therefore pinned in pyproject.toml, and
`tests/conformance/test_expectations.py` fails when the library changes a name or an argument used here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

NONNULL_METRIC = "column_values.nonnull.unexpected_count"
ROW_COUNT_METRIC = "table.row_count"
_BASIC = {"result_format": "BASIC"}
# Every predicate depends on the row count, and none reads it.
_NO_ROW_COUNT: dict[Any, Any] = {ROW_COUNT_METRIC: None}


class MetricResolver:
    """Great Expectations' metrics of a frame, resolved to Spark columns or from values of a scan.

    Great Expectations would run one Spark job after another. This class asks its metric providers for
    their expressions, so that one aggregate over the rows can compute all of them.
    """

    def __init__(self, rows: DataFrame) -> None:
        self._rows = rows

    @cached_property
    def types(self) -> dict[str, str]:
        """The Spark types of the columns, by name."""
        return dict(self._rows.dtypes)

    def condition(self, expectation: Any, *, measured: bool) -> Column:
        """Return the library's predicate of a row that breaks an expectation about single rows.

        Args:
            expectation: An object of `build`.
            measured: The predicate depends on figures of the whole column; Spark jobs compute these.
        """
        metric = _metric_of(expectation, f"{expectation.map_metric}.condition")
        known = _NO_ROW_COUNT | self._schema
        known |= self._measured(metric) if measured else {}
        condition: Column = self._value(metric, known)[0]
        return condition

    def aggregates(self, expectation: Any) -> dict[str, Column]:
        """Return by scan name the aggregates that an expectation about a column is made of."""
        known = _NO_ROW_COUNT | self._schema
        found = {
            scan_name(leaf): self._value(self._dependencies(leaf)["metric_partial_fn"], known)[0]
            for metric in self._needed(expectation).values()
            for leaf in self._leaves(metric)
        }
        self._rows.agg(F.count(F.lit(1)), *found.values())  # Spark analyses it; no job
        return found

    def column_values(
        self, expectation: Any, counts: Mapping[str, Any], row_count: int
    ) -> dict[str, Any]:
        """Return the metrics that the result of an expectation about a column needs, by name.

        Args:
            expectation: An object of `build`.
            counts: The values of `aggregates`, by scan name.
            row_count: Rows of the frame.
        """
        known = self._schema | {ROW_COUNT_METRIC: row_count}
        return {
            name: self._value(metric, known | self._leaf_values(metric, counts))
            for name, metric in self._needed(expectation).items()
        }

    def result(self, expectation: Any, metrics: Mapping[str, Any]) -> Any:
        """Return the library's result of an expectation from its metrics, by name."""
        found = expectation._validate(  # noqa: SLF001 - what the library's validator calls
            metrics, runtime_configuration=dict(_BASIC), execution_engine=self._engine
        )
        return expectation._build_evr(found)  # noqa: SLF001 - the same

    @cached_property
    def _engine(self) -> Any:
        from great_expectations.execution_engine import SparkDFExecutionEngine

        engine = SparkDFExecutionEngine(spark=self._rows.sparkSession, persist=False)
        engine.load_batch_data("rows", self._rows)
        return engine

    @cached_property
    def _schema(self) -> dict[Any, Any]:
        """Names and types of the columns, by metric name; no Spark job."""
        from great_expectations.validator.metric_configuration import MetricConfiguration

        metrics = [
            MetricConfiguration("table.columns", {}),
            MetricConfiguration("table.column_types", {}, {"include_nested": True}),
        ]
        found, _ = self._computed(metrics)
        return {metric.metric_name: found[metric.id] for metric in metrics}

    def _computed(self, metrics: Sequence[Any]) -> tuple[Any, Any]:
        from great_expectations.validator.metrics_calculator import MetricsCalculator

        computed: tuple[Any, Any] = MetricsCalculator(self._engine).compute_metrics(metrics)
        return computed

    def _measured(self, metric: Any) -> dict[Any, Any]:
        """Return the figures that a condition depends on, computed by Spark jobs."""
        found, aborted = self._computed([m for m in self._below(metric) if not _is_partial(m)])
        if aborted:
            (first, *_) = aborted.values()
            raise ValueError(str(first.get("exception_info", first)))
        return dict(found)

    def _below(self, metric: Any) -> Iterator[Any]:
        for name, one in self._dependencies(metric).items():
            if not name.startswith("table."):
                yield one
                if _is_partial(one):
                    yield from self._below(one)

    def _needed(self, expectation: Any) -> dict[str, Any]:
        found = expectation.get_validation_dependencies(self._engine, dict(_BASIC))
        return dict(found.metric_configurations)

    def _leaf_values(self, metric: Any, counts: Mapping[str, Any]) -> dict[Any, Any]:
        from great_expectations.util import convert_to_json_serializable

        values = {}
        for leaf in self._leaves(metric):
            value = counts[scan_name(leaf)]
            if self.types.get(leaf.metric_domain_kwargs.get("column")) == "timestamp":
                value = _from_local(value)
            values[leaf.id] = convert_to_json_serializable(value)
        return values

    def _leaves(self, metric: Any) -> list[Any]:
        """Return the metrics at the bottom that an aggregate computes, without the row count."""
        if metric.metric_name.startswith("table."):
            return []
        below = self._dependencies(metric)
        if "metric_partial_fn" in below:
            return [metric]
        return [leaf for one in below.values() for leaf in self._leaves(one)]

    def _dependencies(self, metric: Any) -> dict[str, Any]:
        from great_expectations.expectations.registry import get_metric_provider

        provider, _ = get_metric_provider(metric.metric_name, self._engine)
        found: dict[str, Any] = provider.get_evaluation_dependencies(
            metric=metric, execution_engine=self._engine, runtime_configuration=dict(_BASIC)
        )
        return found

    def _value(self, metric: Any, known: Mapping[Any, Any]) -> Any:
        """Resolve a metric from values known by name or id, and from its dependencies; no Spark job."""
        from great_expectations.expectations.registry import get_metric_provider

        for key in (metric.metric_name, metric.id):
            if key in known:
                return known[key]
        provider, function = get_metric_provider(metric.metric_name, self._engine)
        below = self._dependencies(metric)
        return function(
            cls=provider,
            execution_engine=self._engine,
            metric_domain_kwargs=metric.metric_domain_kwargs,
            metric_value_kwargs=metric.metric_value_kwargs,
            metrics={name: self._value(one, known) for name, one in below.items()},
            runtime_configuration=dict(_BASIC),
        )


def scan_name(metric: Any) -> str:
    """Return a metric's name and id as one text, which is its column in the scan."""
    return f"gx {' '.join(map(str, metric.id))}"


def _metric_of(expectation: Any, name: str) -> Any:
    from great_expectations.expectations.registry import get_metric_kwargs
    from great_expectations.validator.metric_configuration import MetricConfiguration

    kwargs = get_metric_kwargs(name, expectation.configuration, dict(_BASIC))
    return MetricConfiguration(name, kwargs["metric_domain_kwargs"], kwargs["metric_value_kwargs"])


def _is_partial(metric: Any) -> bool:
    return str(metric.metric_name).endswith((".map", ".condition", ".aggregate_fn"))


def _from_local(value: Any) -> Any:
    """Return a timestamp that PySpark collected, naive in the driver's zone, as naive UTC."""
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.astimezone(UTC).replace(tzinfo=None)
    return value
