"""Columns of other types than the model's own, scored where nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from millrace.schemas.config import Job
from millrace.schemas.errors import ModelError, UsageError
from millrace.schemas.summary import RunSummary
from tests.helpers import columns_mlp, job_of, rows, write_parquet

pytestmark = pytest.mark.spark
Score = Callable[[Job], RunSummary]


def job(tmp: Path, model: Path, types: dict[str, str], **changes: Any) -> Job:
    columns = {"id": {"type": "bigint"}, **{name: {"type": kind} for name, kind in types.items()}}
    contract = {"columns": columns, "max_quarantined": 1.0}
    return job_of(tmp, model, contract=contract, **changes)


def values(lake: Path) -> dict[int, tuple[Any, Any]]:
    return {
        r["id"]: (r["value"], r["error"])
        for r in rows(lake, "SELECT id, value, error FROM predictions_tiny")
    }


@pytest.mark.parametrize("surface", ["arrow", "pandas"])
def test_decimals_and_wider_integers_score_as_the_models_own_types_do(
    score: Score, tmp_path: Path, surface: str
) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    model = columns_mlp(tmp_path / "model", price="double", count="int", flag="int")
    prices = [Decimal("0.10"), Decimal("12345.67"), Decimal("-3.00"), Decimal("0.30")]
    counts, flags = [1, 2, 3, 2**40], [True, False, True, False]
    ids = pa.array(range(4), pa.int64())
    write_parquet(own / "input", pa.table({
        "id": ids, "price": [float(price) for price in prices],
        "count": pa.array([1, 2, 3, 4], pa.int32()), "flag": pa.array(flags).cast(pa.int32()),
    }))  # fmt: skip
    write_parquet(other / "input", pa.table({
        "id": ids, "price": pa.array(prices, pa.decimal128(9, 2)),
        "count": pa.array(counts, pa.int64()), "flag": flags,
    }))  # fmt: skip
    plain = {"price": "double", "count": "int", "flag": "int"}
    foreign = {"price": "decimal(9,2)", "count": "bigint", "flag": "boolean"}

    score(job(own, model, plain, engine={"surface": surface}))
    score(job(other, model, foreign, engine={"surface": surface}, keep=["price"]))

    wanted, found = values(own / "lake"), values(other / "lake")
    assert [found[row] for row in range(3)] == [wanted[row] for row in range(3)]
    assert found[3] == (
        None,
        {"kind": "decode", "message": "count: 1099511627776 is beyond int"},
    )
    kept = rows(other / "lake", "SELECT id, price FROM tiny_current ORDER BY id")
    assert [row["price"] for row in kept] == prices[:3]


def test_fractions_are_not_read_as_integers(score: Score, tmp_path: Path) -> None:
    model = columns_mlp(tmp_path / "model", count="int")
    write_parquet(tmp_path / "input", pa.table({"id": [1], "count": [1.0]}))
    with pytest.raises(ModelError, match="does not fit") as told:
        score(job(tmp_path, model, {"count": "double"}))
    assert "the model reads int, the contract says double: its values may have" in str(told.value)
    assert told.value.exit_code == 2


def test_dates_instants_and_texts_score_as_the_numbers_that_the_card_declares(
    score: Score, tmp_path: Path
) -> None:
    declared, plain = tmp_path / "declared", tmp_path / "plain"
    step = {
        "times": {"day": "days", "at": "seconds"},
        "categories": {"plan": {"values": ["basic", "pro"]}},
        "exact": True,
        "scale": 0.001,
    }
    kinds = {"day": "date", "at": "timestamp", "plan": "string"}
    model = columns_mlp(tmp_path / "m", {"name": "columns", "options": step}, **kinds)
    numbers = {"day": "int", "at": "bigint", "plan": "int"}
    scaled = {"name": "columns", "options": {"scale": 0.001}}
    same = columns_mlp(tmp_path / "n", scaled, **numbers)
    ids = pa.array(range(5), pa.int64())
    days, seconds = (
        pa.array([0, -25567, 19000, 1, 1], pa.int32()),
        [0, -1, 16_777_216, 16_777_217, 5],
    )
    instants = pa.array([one * 10**6 for one in seconds], pa.timestamp("us", "UTC"))
    plans = ["basic", "pro", "basic", "pro", "gold"]
    write_parquet(declared / "input", pa.table({
        "id": ids, "day": days.cast(pa.date32()), "at": instants, "plan": plans,
    }))  # fmt: skip
    write_parquet(plain / "input", pa.table({
        "id": ids, "day": days, "at": pa.array(seconds, pa.int64()),
        "plan": pa.array([0, 1, 0, 1, 0], pa.int32()),
    }))  # fmt: skip

    score(job(declared, model, kinds, engine={"dedupe": "unit"}))
    score(job(plain, same, numbers))

    found, wanted = values(declared / "lake"), values(plain / "lake")
    scored = [found[row][0] for row in range(3)]
    assert scored == pytest.approx([wanted[row][0] for row in range(3)], rel=1e-6)
    assert len({*scored}) == 3
    told = {row: found[row][1]["message"] for row in (3, 4)}
    assert told == {
        3: "at: 16777217.0 is not exact as float32",
        4: "plan: 'gold' is none of its 2 values",
    }
    with pytest.raises(UsageError, match="reads instants, which pandas has in local time"):
        score(job(declared, model, kinds, engine={"surface": "pandas"}))
