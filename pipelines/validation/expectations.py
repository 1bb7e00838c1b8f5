"""The contract's expectations, answered from validation's one scan by Great Expectations' own code.

An expectation about single rows becomes the library's predicate. Counts and aggregates, for which the
library would run one Spark job after another, come from the scan that validation makes anyway; the
library's code makes its results of them. What no aggregate gives it computes by its own Spark jobs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import and_, or_
from typing import Any

from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from millrace.pipelines.spark.conditions import rows_where, whole
from millrace.pipelines.validation import gx_adapter
from millrace.pipelines.validation.gx_metrics import (
    NONNULL_METRIC,
    ROW_COUNT_METRIC,
    MetricResolver,
)
from millrace.schemas.contract import Contract
from millrace.schemas.expectation import Expectation
from millrace.schemas.expectations import COLUMN_KEYS, columns_of
from millrace.schemas.rule import MALFORMED, quoted

ROWS = "gx rows"  # the scan's count of the rows that could be parsed
# Of a number that is NaN none of these is true.
_ORDERED = ("ExpectColumnValuesToBeBetween", "ExpectColumnPairValuesAToBeGreaterThanB")


@dataclass(frozen=True)
class NamedExpectation:
    """One expectation of the contract by its name, and the library's object for it."""

    name: str
    declared: Expectation
    built: Any

    @property
    def way(self) -> str:
        """How it is answered."""
        return self.declared.evaluation


class Expectations:
    """A contract's expectations over its input: what to aggregate for them, and their results."""

    def __init__(self, rows: DataFrame, contract: Contract) -> None:
        declared = rows.select(*map(quoted, contract.columns))
        parsed = F.col(MALFORMED).isNull() if MALFORMED in rows.columns else None
        self.rows = declared if parsed is None else rows.where(parsed).select(*declared.columns)
        self._parsed = F.lit(True) if parsed is None else parsed
        named = zip(contract.expectation_names, contract.expectations, strict=True)
        self.named = tuple(
            NamedExpectation(name, one, gx_adapter.build(one)) for name, one in named
        )
        self._metrics = MetricResolver(self.rows)
        self._unfit_aggregates: dict[str, str] = {}

    def predicates(self, names: Collection[str]) -> dict[str, Column | str]:
        """Return by name whether a row breaks the expectation, never NULL; or why this is unknown.

        For an expectation that is measured, Spark jobs compute figures of the whole column first.
        """
        found = {one.name: self._condition(one) for one in self.named if one.name in names}
        columns = {name: one for name, one in found.items() if isinstance(one, Column)}
        if self._unfit(columns.values()) is None:
            return found
        reasons = {name: self._unfit([one]) for name, one in columns.items()}
        return found | {name: why for name, why in reasons.items() if why is not None}

    def _unfit(self, conditions: Iterable[Column]) -> str | None:
        """Spark's reason why conditions do not fit the columns' types, or None; no job."""
        try:
            self.rows.select(*conditions).schema  # noqa: B018 - Connect analyses nothing before
        except AnalysisException as error:
            return _message(error)
        return None

    @cached_property
    def aggregates(self) -> dict[str, Column]:
        """By name, what the scan aggregates for the results, besides each rule's own count."""
        if not self.named:
            return {}
        found = {ROWS: rows_where(self._parsed)}
        for one in self.named:
            if one.way == "counted":
                aggregates = self._columns_aggregates(one)
                if isinstance(aggregates, str):
                    self._unfit_aggregates[one.name] = aggregates
                else:
                    found |= aggregates
            elif (
                one.declared.splits
                and _label(one) not in found
                and (about := _considered(one.built)) is not None
            ):
                found[_label(one)] = rows_where(self._parsed & about)
        return found

    def validate_with_spark(self) -> list[Any]:
        """Return the results that Great Expectations computes by Spark jobs of its own, in order.

        None of them is about single rows, so SUMMARY costs no more jobs than BOOLEAN_ONLY and states
        what was observed.
        """
        own = [one.declared for one in self.named if one.way == "delegated"]
        suite = gx_adapter.build_suite(own) if own else None
        return gx_adapter.validate_with_spark(self.rows, suite) if suite else []

    def results(
        self, counts: Mapping[str, Any], broken: Mapping[str, int | str], computed: Sequence[Any]
    ) -> list[Any]:
        """Return Great Expectations' result of each expectation, in order.

        Args:
            counts: The values of `aggregates`, or why there is none.
            broken: By rule, the rows that break it, or why this is unknown.
            computed: The results of `validate_with_spark`.
        """
        of_spark, reasons = iter(computed), {**self._unfit_aggregates, **broken}
        return [
            next(of_spark)
            if one.way == "delegated"
            else self._result(one, counts, reasons.get(one.name))
            for one in self.named
        ]

    def _result(
        self, one: NamedExpectation, counts: Mapping[str, Any], broken: int | str | None
    ) -> Any:
        if isinstance(broken, str):
            return gx_adapter.failed_result(one.built, broken)
        try:
            if one.way == "counted":
                values = self._metrics.column_values(one.built, counts, whole(counts[ROWS]))
            else:
                values = _map_values(one, counts, broken)
            return self._metrics.result(one.built, values)
        except Exception as error:  # noqa: BLE001 - whatever it is, the expectation has not been met
            return gx_adapter.failed_result(one.built, _message(error))

    def _condition(self, one: NamedExpectation) -> Column | str:
        try:
            condition = self._metrics.condition(one.built, measured=one.way == "measured")
        except Exception as error:  # noqa: BLE001 - whatever it is, the expectation has not been met
            return _message(error)
        broken = self._broken(one, condition)
        domain = _domain(one.built)
        return broken if domain is None else domain & broken

    def _broken(self, one: NamedExpectation, unmet: Column) -> Column:
        """Whether a considered row breaks the expectation: where it is not known to meet it.

        `unmet` is NULL for all rows where a column's deviation is 0 or unknown: nothing deviates.
        """
        if one.way == "measured":
            return unmet.eqNullSafe(True)
        broken = F.coalesce(unmet, F.lit(True))
        if one.declared.expect not in _ORDERED:
            return broken
        # Spark sorts NaN after every number, and so finds it greater than a bound.
        nans = [
            F.isnan(quoted(name))
            for name in one.declared.columns
            if self._metrics.types[name] in ("float", "double")
        ]
        return reduce(or_, [F.coalesce(nan, F.lit(False)) for nan in nans], broken)

    def _columns_aggregates(self, one: NamedExpectation) -> dict[str, Column] | str:
        """Return by name the aggregates it is made of; or why Spark has none for such a column."""
        try:
            return self._metrics.aggregates(one.built)
        except Exception as error:  # noqa: BLE001 - whatever it is, the expectation has not been met
            return _message(error)


def considered(expectation: Expectation) -> Column | None:
    """Return the rows that an expectation about several rows compares; None means all of them."""
    return _considered(gx_adapter.build(expectation))


def _map_values(
    one: NamedExpectation, counts: Mapping[str, Any], broken: int | None
) -> dict[str, Any]:
    """Metrics of an expectation about single rows. Quarantine has examples of broken rows."""
    rows = whole(counts[ROWS])
    about = whole(counts.get(_label(one), rows))
    return {
        ROW_COUNT_METRIC: rows,
        NONNULL_METRIC: rows - about,
        f"{one.built.map_metric}.filtered_row_count": about,
        f"{one.built.map_metric}.unexpected_count": broken,
    }


def _considered(built: Any) -> Column | None:
    """The rows that an expectation is about; None means all of them."""
    if len(_columns(built)) > 1:
        return _domain(built)
    if built.map_metric in ("column_values.nonnull", "column_values.null"):
        return None
    return F.col(quoted(built.column)).isNotNull()


def _columns(built: Any) -> tuple[str, ...]:
    return columns_of({name: getattr(built, name, None) for name in COLUMN_KEYS})


def _domain(built: Any) -> Column | None:
    """The rows that an expectation of several columns does not ignore; None if it ignores none."""
    how = getattr(built, "ignore_row_if", None)
    if how in (None, "neither", "never"):
        return None
    missing = [F.col(quoted(name)).isNull() for name in _columns(built)]
    every = how in ("both_values_are_missing", "all_values_are_missing")
    return ~reduce(and_ if every else or_, missing)


def _label(one: NamedExpectation) -> str:
    """The scan's name for the count of considered rows: one count for all alike."""
    return f"gx about {' '.join(one.declared.columns)} {getattr(one.built, 'ignore_row_if', '')}"


def _message(error: Exception) -> str:
    """An error's kind and its first line."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
