"""The contract's expectations, answered by Great Expectations; the only place that imports it.

What is said of each row becomes Great Expectations' own predicate. The counts and aggregates that it
would ask Spark for, one job after another, come from the one scan that validation makes anyway; its
own code makes its own results of them. What no aggregate gives it asks Spark for itself.

These calls of Great Expectations are mostly not public: its release is pinned, and
`tests/conformance/test_expectations.py` compares with it, run plainly.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import and_, or_
from typing import Any

from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from pipelines.counting import rows_where, whole
from schemas.contract import MALFORMED, Contract, Expectation, quoted
from schemas.errors import UsageError
from schemas.expectations import COLUMN_KEYS, columns_of

ROWS = "gx rows"  # of a scan's counts: the rows that could be parsed
_NULLS = "column_values.nonnull.unexpected_count"
_BASIC = {"result_format": "BASIC"}
_PLACE = "place"
_NO_COUNT: dict[Any, Any] = {
    "table.row_count": None
}  # every predicate depends on it, none reads it


def built(expectation: Expectation) -> Any:
    """The expectation as Great Expectations has it. Raises UsageError where it takes no such arguments."""
    from great_expectations import expectations as known

    kind = getattr(known, expectation.expect)
    try:
        return kind(**expectation.arguments, severity=expectation.severity)
    except (TypeError, ValueError) as error:  # pydantic's ValidationError is a ValueError
        raise UsageError(
            f"{expectation.expect} does not take these arguments",
            got=str(error),
            next="correct contract.expectations",
        ) from None


def suite_of(expectations: Sequence[Expectation]) -> Any:
    """Great Expectations' suite of these, each with its place in it."""
    import great_expectations as gx

    every = [built(one) for one in expectations]
    for place, one in enumerate(every):
        one.meta = {_PLACE: place}
    return gx.ExpectationSuite(name="contract", expectations=every)


def check_with_gx(rows: DataFrame, suite: Any, result_format: str = "SUMMARY") -> list[Any]:
    """Great Expectations' own results for a suite, as it asks Spark for them, in the suite's order."""
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    source = context.data_sources.add_spark("input", persist=False)
    definition = source.add_dataframe_asset("rows").add_batch_definition_whole_dataframe("all")
    batch = definition.get_batch({"dataframe": rows})
    found = {}
    for result in batch.validate(suite, result_format=result_format).results:
        # Those that could not be computed come first, whatever the suite's order.
        found[result.expectation_config.meta.pop(_PLACE)] = result
    return [found[place] for place in range(len(suite.expectations))]


def failed(expectation: Any, why: str) -> Any:
    """Great Expectations' result of what could not be computed: it has not been met."""
    from great_expectations.core.expectation_validation_result import ExpectationValidationResult

    told = {"raised_exception": True, "exception_message": why, "exception_traceback": ""}
    return ExpectationValidationResult(
        success=False, expectation_config=expectation.configuration, exception_info=told
    )


@dataclass(frozen=True)
class Named:
    """One expectation of the contract: its name there, and itself in Great Expectations' words."""

    name: str
    asked: Expectation
    built: Any

    @property
    def way(self) -> str:
        """How it is answered."""
        return self.asked.way


class Expectations:
    """A contract's expectations over its input: what to aggregate for them, and what comes of it."""

    def __init__(self, rows: DataFrame, contract: Contract) -> None:
        declared = rows.select(*map(quoted, contract.columns))
        parsed = F.col(MALFORMED).isNull() if MALFORMED in rows.columns else None
        self.rows = declared if parsed is None else rows.where(parsed).select(*declared.columns)
        self._parsed = F.lit(True) if parsed is None else parsed
        named = zip(contract.expectation_names, contract.expectations, strict=True)
        self.named = tuple(Named(name, one, built(one)) for name, one in named)
        self._unfit_aggregates: dict[str, str] = {}

    def predicates(self, names: Collection[str]) -> dict[str, Column | str]:
        """By name, whether a row breaks the expectation, never NULL; or why that cannot be said.

        Of an expectation that is measured, figures of the whole column are asked of Spark first.
        """
        said = {one.name: self._condition(one) for one in self.named if one.name in names}
        sound = {name: told for name, told in said.items() if isinstance(told, Column)}
        if self._unfit(sound.values()) is None:
            return said
        return said | {
            name: why for name, told in sound.items() if (why := self._unfit([told])) is not None
        }

    def _unfit(self, conditions: Iterable[Column]) -> str | None:
        """What Spark says of conditions that do not fit the columns' types; no job."""
        try:
            self.rows.select(*conditions).schema  # noqa: B018 - Connect analyses nothing before
        except AnalysisException as error:
            return _told(error)
        return None

    @cached_property
    def aggregates(self) -> dict[str, Column]:
        """By name, what the scan has to aggregate for the results, beside each rule's own count."""
        if not self.named:
            return {}
        found = {ROWS: rows_where(self._parsed)}
        for one in self.named:
            if one.way == "counted":
                told = self._columns_aggregates(one)
                if isinstance(told, str):
                    self._unfit_aggregates[one.name] = told
                else:
                    found |= told
            elif (
                one.asked.splits
                and _label(one) not in found
                and (about := _considered(one.built)) is not None
            ):
                found[_label(one)] = rows_where(self._parsed & about)
        return found

    def ask(self) -> list[Any]:
        """The results that Great Expectations asks Spark for itself, in order.

        None of them is about single rows, so SUMMARY costs no more jobs than BOOLEAN_ONLY and says
        what was observed.
        """
        mine = [one.asked for one in self.named if one.way == "asked"]
        return check_with_gx(self.rows, suite_of(mine)) if mine else []

    def results(
        self, counts: Mapping[str, Any], broken: Mapping[str, int | str], asked: Sequence[Any]
    ) -> list[Any]:
        """Great Expectations' result of each expectation, in order.

        ``counts`` has the values of `aggregates`, or why there is none; ``broken`` the rows that break
        each rule, or why that is not known; ``asked`` is what `ask` found.
        """
        told, found = iter(asked), {**self._unfit_aggregates, **broken}
        return [
            next(told) if one.way == "asked" else self._result(one, counts, found.get(one.name))
            for one in self.named
        ]

    def _result(self, one: Named, counts: Mapping[str, Any], broken: int | str | None) -> Any:
        if isinstance(broken, str):
            return failed(one.built, broken)
        try:
            if one.way == "counted":
                needed = self._needed(one).items()
                values = {name: self._column_value(metric, counts) for name, metric in needed}
            else:
                values = _map_values(one, counts, broken)
            found = one.built._validate(  # noqa: SLF001 - what a GX validator calls
                values, runtime_configuration=dict(_BASIC), execution_engine=self._engine
            )
            return one.built._build_evr(found)  # noqa: SLF001 - the same
        except Exception as error:  # noqa: BLE001 - whatever it is, the expectation has not been met
            return failed(one.built, _told(error))

    def _condition(self, one: Named) -> Column | str:
        try:
            metric = _metric_of(one.built, f"{one.built.map_metric}.condition")
            known = _NO_COUNT | self._schema
            known |= self._measured(metric) if one.way == "measured" else {}
            condition, _, _ = self._value(metric, known)
        except Exception as error:  # noqa: BLE001 - whatever it is, the expectation has not been met
            return _told(error)
        broken: Column = condition.eqNullSafe(True)
        domain = _domain(one.built)
        return broken if domain is None else domain & broken

    def _measured(self, metric: Any) -> dict[Any, Any]:
        """The figures that a condition needs, as Great Expectations gets them from Spark."""
        from great_expectations.validator.metrics_calculator import MetricsCalculator

        wanted = [below for below in self._below(metric) if not _is_partial(below)]
        found, aborted = MetricsCalculator(self._engine).compute_metrics(wanted)
        if aborted:
            (told, *_) = aborted.values()
            raise ValueError(str(told.get("exception_info", told)))
        return dict(found)

    def _below(self, metric: Any) -> Iterator[Any]:
        for name, one in self._dependencies(metric).items():
            if not name.startswith("table."):
                yield one
                if _is_partial(one):
                    yield from self._below(one)

    @cached_property
    def _engine(self) -> Any:
        from great_expectations.execution_engine import SparkDFExecutionEngine

        engine = SparkDFExecutionEngine(spark=self.rows.sparkSession, persist=False)
        engine.load_batch_data("rows", self.rows)
        return engine

    @cached_property
    def _schema(self) -> dict[Any, Any]:
        """Names and types of the columns, as Great Expectations has them; no job of Spark's."""
        from great_expectations.validator.metric_configuration import MetricConfiguration
        from great_expectations.validator.metrics_calculator import MetricsCalculator

        wanted = [
            MetricConfiguration("table.columns", {}),
            MetricConfiguration("table.column_types", {}, {"include_nested": True}),
        ]
        found, _ = MetricsCalculator(self._engine).compute_metrics(wanted)
        return {metric.metric_name: found[metric.id] for metric in wanted}

    def _needed(self, one: Named) -> dict[str, Any]:
        """The metrics of a column or the table that its result is made of, by name."""
        asked = one.built.get_validation_dependencies(self._engine, dict(_BASIC))
        return dict(asked.metric_configurations)

    def _columns_aggregates(self, one: Named) -> dict[str, Column] | str:
        """By name, the aggregates that it is made of; or why Spark cannot make them of such a column."""
        known = _NO_COUNT | self._schema
        try:
            found = {
                _id(leaf): self._value(self._dependencies(leaf)["metric_partial_fn"], known)[0]
                for metric in self._needed(one).values()
                for leaf in self._leaves(metric)
            }
            self.rows.agg(F.count(F.lit(1)), *found.values())
        except Exception as error:  # noqa: BLE001 - whatever it is, the expectation has not been met
            return _told(error)
        return found

    def _column_value(self, metric: Any, counts: Mapping[str, Any]) -> Any:
        from great_expectations.util import convert_to_json_serializable

        told = {
            leaf.id: convert_to_json_serializable(counts[_id(leaf)])
            for leaf in self._leaves(metric)
        }
        return self._value(metric, self._schema | {"table.row_count": whole(counts[ROWS])} | told)

    def _leaves(self, metric: Any) -> list[Any]:
        """The metrics at the bottom of it that an aggregate gives, the number of rows left out."""
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
        """A metric from what is known, by name or id, and from those it depends on; no job of Spark's."""
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


def _map_values(one: Named, counts: Mapping[str, Any], broken: int | None) -> dict[str, Any]:
    """The figures of what is said of each row. Examples of broken rows are in quarantine, with their keys."""
    rows = whole(counts[ROWS])
    about = whole(counts.get(_label(one), rows))
    return {
        "table.row_count": rows,
        _NULLS: rows - about,
        f"{one.built.map_metric}.filtered_row_count": about,
        f"{one.built.map_metric}.unexpected_count": broken,
    }


def _considered(built: Any) -> Column | None:
    """The rows that an expectation is about; None where it is about all of them."""
    if len(_columns(built)) > 1:
        return _domain(built)
    if built.map_metric in ("column_values.nonnull", "column_values.null"):
        return None
    return F.col(quoted(built.column)).isNotNull()


def _columns(built: Any) -> tuple[str, ...]:
    return columns_of({name: getattr(built, name, None) for name in COLUMN_KEYS})


def _domain(built: Any) -> Column | None:
    """The rows that an expectation of several columns does not ignore; None where it ignores none."""
    how = getattr(built, "ignore_row_if", None)
    if how in (None, "neither", "never"):
        return None
    missing = [F.col(quoted(name)).isNull() for name in _columns(built)]
    every = how in ("both_values_are_missing", "all_values_are_missing")
    return ~reduce(and_ if every else or_, missing)


def considered(expectation: Expectation) -> Column | None:
    """The rows that an expectation about several rows at once compares; None: all of them."""
    return _considered(built(expectation))


def _metric_of(built: Any, name: str) -> Any:
    from great_expectations.expectations.registry import get_metric_kwargs
    from great_expectations.validator.metric_configuration import MetricConfiguration

    about = get_metric_kwargs(name, built.configuration, dict(_BASIC))
    return MetricConfiguration(name, about["metric_domain_kwargs"], about["metric_value_kwargs"])


def _is_partial(metric: Any) -> bool:
    return str(metric.metric_name).endswith((".map", ".condition", ".aggregate_fn"))


def _label(one: Named) -> str:
    """What the scan's count of the rows that it is about is called: one count for all alike."""
    return f"gx about {' '.join(one.asked.columns)} {getattr(one.built, 'ignore_row_if', '')}"


def _id(metric: Any) -> str:
    """A metric's name and id, which is its name in the scan too."""
    return f"gx {' '.join(map(str, metric.id))}"


def _told(error: Exception) -> str:
    """An error's kind and its first line."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
