"""Sums of the shipped views near the limits of their types: right, or an error, in both engines."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from millrace.pipelines.lake import delta
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.query.engine import query
from millrace.pipelines.query.views import register
from millrace.schemas.errors import QueryError
from millrace.schemas.tables import LEDGER, QUARANTINE, REPLAYS, RUNS
from tests.pipelines.query.test_views import EVENTS, REFUSED, SHIPPED, at, in_order, replayed

MOST = 2**63 - 1  # of a bigint
DEAREST = Decimal("1999999999999999.999999999999")  # five of them are the largest that a view adds
# What one column too large for its sum turns into an error; the other views do not read it.
OF_RUNS = {"cost_by_run", "cost_by_model", "cost_per_thousand_rows", "cost_per_million_tokens"}
READERS = {
    "x_RowsOut": {*OF_RUNS, "cost_by_partition", "energy_by_run"} - {"cost_per_million_tokens"},
    "x_Tokens": {"cost_per_million_tokens"},
    "EffectiveCost": {*OF_RUNS, "cost_by_day", "cost_by_partition", "cost_by_tag", "waste", "what_if"},
    "ConsumedQuantity": {"what_if"},
}  # fmt: skip


def spent(kind: str = "useful", **more: Any) -> dict[str, Any]:
    """One row of the ledger; what ``more`` does not say is small."""
    return {
        "x_RunId": "digits-a", "x_Job": "digits", "x_Unit": 0, "x_AppId": "app-1", "x_StageId": 2,
        "x_PartitionId": 1, "x_TaskId": 1, "x_CostKind": kind, "x_Committed": True, "x_SlotMs": 1,
        "x_RowsOut": 1, "x_Tokens": 1, "ChargePeriodStart": at(0), "ChargePeriodEnd": at(1),
        "SkuMeter": "Core", "SkuId": "small", "SkuPriceId": "small/east/Core",
        "PricingCategory": "Standard", "x_PriceBookVersion": "book", "BillingCurrency": "USD",
        "ConsumedQuantity": Decimal(1), "EffectiveCost": Decimal(1), "x_EnergyWh": 1.0,
        "Tags": [{"key": "team", "value": "mail"}],
        **more,
    }  # fmt: skip


def lake_of(folder: Path, *rows: dict[str, Any]) -> Path:
    delta.append_values([*rows], LakeLocation(folder), LEDGER, "test")
    delta.append_values(EVENTS, LakeLocation(folder), RUNS, "test")
    delta.append_values(REFUSED, LakeLocation(folder), QUARANTINE, "test")
    delta.append_values(replayed("key", None, 0, MOST, MOST), LakeLocation(folder), REPLAYS, "test")
    return folder


def asked(lake: Path, view: str) -> list[dict[str, Any]]:
    return in_order(query(LakeLocation(lake), f"SELECT * FROM {view}"))


@pytest.mark.spark
def test_sums_up_to_the_limits_are_right_and_equal_in_both_engines(
    spark: SparkSession, tmp_path: Path
) -> None:
    large = {"x_SlotMs": MOST, "EffectiveCost": DEAREST, "ConsumedQuantity": DEAREST}
    lake = lake_of(
        tmp_path,
        spent(**large, x_RowsOut=MOST - 2, x_Tokens=MOST - 1),
        spent(**large),
        spent("saved", x_RowsOut=1),
        *(spent("failed", **large) for _ in range(3)),
    )

    register(spark, LakeLocation(lake))
    found = {view: asked(lake, view) for view in SHIPPED}
    for view, rows in found.items():
        assert rows == in_order(spark.table(view).toArrow()), view

    (run,), (model,), (day,) = (found[f"cost_by_{of}"] for of in ("run", "model", "day"))
    (part,), (tag,), (lost,) = (found[of] for of in ("cost_by_partition", "cost_by_tag", "waste"))
    (tokens,), (if_there,), (again,) = (
        found[of] for of in ("cost_per_million_tokens", "what_if", "replayed")
    )
    assert [one["rows_scored"] for one in (run, model, part)] == [MOST, MOST, MOST - 1]
    assert tokens["tokens"] == MOST
    assert [one["cost"] for one in (run, model, part, day, tag)] == [5 * DEAREST] * 5
    assert [one["slot_s"] for one in (run, model, part, day)] == [float(5 * MOST) / 1000] * 4
    assert [part["useful_s"], part["failed_s"]] == [float(2 * MOST) / 1000, float(3 * MOST) / 1000]
    assert (lost["cost"], lost["slot_s"]) == (3 * DEAREST, float(3 * MOST) / 1000)
    assert if_there["core_s"] == float(5 * DEAREST)
    assert again["outcome"] == "failed"


def beyond(folder: Path, column: str) -> Path:
    """A lake of which this one column cannot be added up in its own type."""
    limit = MOST if column.startswith("x_") else Decimal(10**26 - 1)
    return lake_of(
        folder, *(spent(kind, **{column: limit}) for kind in ("useful", "useful", "failed"))
    )


@pytest.mark.parametrize("column", READERS)
def test_a_sum_beyond_the_limit_is_an_error(tmp_path: Path, column: str) -> None:
    lake = beyond(tmp_path, column)
    for view in SHIPPED:
        if view in READERS[column]:
            with pytest.raises(QueryError, match=r"too large|out of range"):
                asked(lake, view)
        else:
            assert asked(lake, view), view


@pytest.mark.spark
@pytest.mark.parametrize(
    ("column", "view"),
    [("x_RowsOut", "cost_by_run"), ("x_Tokens", "cost_per_million_tokens"),
     ("EffectiveCost", "cost_by_tag"), ("ConsumedQuantity", "what_if")],
)  # fmt: skip
def test_a_sum_beyond_the_limit_is_an_error_of_sparks_too(
    spark: SparkSession, tmp_path: Path, column: str, view: str
) -> None:
    register(spark, LakeLocation(beyond(tmp_path, column)))
    with pytest.raises(PySparkException, match=r"NUMERIC_VALUE_OUT_OF_RANGE|OVERFLOW"):
        spark.table(view).toArrow()


def test_rows_that_needed_no_model_are_added_in_the_wider_type_too(tmp_path: Path) -> None:
    lake = lake_of(tmp_path, spent(x_RowsOut=MOST), spent("saved", x_RowsOut=1))
    with pytest.raises(QueryError, match="out of range"):
        asked(lake, "cost_by_run")


counts = st.integers(0, MOST) | st.integers(MOST - 9, MOST) | st.integers(0, 9)
amounts = st.decimals(-(10**25), 10**25, places=12) | st.decimals(-9, 9, places=12)


@settings(max_examples=25)
@given(rows=st.lists(st.tuples(counts, amounts), min_size=1, max_size=4))
def test_a_run_has_pythons_own_sum_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, Decimal]]
) -> None:
    lake = tmp_path_factory.mktemp("lake")
    told = [spent(x_RowsOut=count, x_SlotMs=count, EffectiveCost=cost) for count, cost in rows]
    delta.append_values(told, LakeLocation(lake), LEDGER, "test")
    scored, cost = sum(count for count, _ in rows), sum(cost for _, cost in rows)
    try:
        (found,) = asked(lake, "cost_by_run")
    except QueryError:
        assert scored > MOST or any(abs(cost) >= Decimal(10) ** 16 for _, cost in rows)
    else:
        assert (found["rows_scored"], found["cost"]) == (scored, cost)
        assert found["slot_s"] == float(scored) / 1000
