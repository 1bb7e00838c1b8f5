"""Rows that a model cannot compute, in a real network behind scripted faults; no Spark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil, log2
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from helpers import image_table, images, loaded, pixel_mlp, tiny_bert
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.schemas.errors import ModelError, OutputMismatch, RunFailed
from millrace.udfs.engine import row_isolation
from millrace.udfs.engine.batch_sizing import CEILINGS, Ceilings, sizer_for
from millrace.udfs.engine.fault_actions import Fault
from millrace.udfs.engine.fault_injection import FaultyModel
from millrace.udfs.engine.fault_script import FaultRule, FaultScript
from millrace.udfs.engine.metering import Meter, TaskAttempt
from millrace.udfs.engine.scoring import score
from millrace.udfs.models.model_loading import Model
from millrace.udfs.runtime.plan import Plan

PLAN = Plan(inputs=("pixels",), passthrough=("id",))
TOLERANCE = 1e-5
BAD = 255


@pytest.fixture(autouse=True)
def no_ceilings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CEILINGS, "_least", {})


@pytest.fixture(scope="module")
def mlp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pixel_mlp(tmp_path_factory.mktemp("mlp"))


class Counting:
    """The model inside, and the rows of each call."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.calls: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def predict(self, values: Any) -> Any:
        self.calls.append(len(values))
        return self._model.predict(values)


def scripted(folder: Path, *rules: FaultRule, **more: Any) -> Counting:
    return Counting(FaultyModel(loaded(folder), FaultScript(rules=rules, **more)))


def marked(count: int, bad: Sequence[int], seed: int = 1) -> list[bytes]:
    """Images of which those at ``bad`` begin with 255, and no other."""
    rows = [bytes([cell[0] % BAD]) + cell[1:] for cell in images(count, seed)]
    for row in bad:
        rows[row] = bytes([BAD]) + rows[row][1:]
    return rows


def run(model: Model | Counting, pixels: Sequence[bytes | None], plan: Plan = PLAN) -> list[Any]:
    batches = image_table(pixels).to_batches(max_chunksize=1000)
    out = score(batches, lambda: model, plan, Meter(TaskAttempt()))  # type: ignore[arg-type,return-value]
    return pa.Table.from_batches(out).to_pylist()


def most_calls(batch: int, bad: int) -> int:
    """What ``bad`` rows of a batch cost at most, beside the one call: two a level for each node that fails."""
    levels = ceil(log2(batch)) if batch > 1 else 0
    return sum(2 * min(bad, 2**level) for level in range(levels))


def check(found: list[Any], undisturbed: list[Any], bad: Sequence[int], kind: str) -> None:
    assert [row["id"] for row in found] == [row["id"] for row in undisturbed]
    assert [row["id"] for row in found if row["error"]] == sorted(bad)
    for row, other in zip(found, undisturbed, strict=True):
        if row["error"]:
            assert row["error"]["kind"] == kind
            assert (row["label"], row["score"], row["probabilities"]) == (None, None, None)
        else:
            assert row["label"] == other["label"]
            assert np.allclose(row["probabilities"], other["probabilities"], atol=TOLERANCE)


@settings(max_examples=60)
@given(
    st.data(),
    st.integers(1, 150),
    st.integers(1, 70),
    st.integers(1, 160),
    st.sampled_from(["raise", "short", "wide", "nan"]),
)
def test_bad_rows_have_errors_and_all_others_are_as_without_them_whatever_the_cuts(
    mlp: Path, data: st.DataObject, count: int, batch_rows: int, window_rows: int, action: str
) -> None:
    few = st.sets(st.integers(0, count - 1), max_size=min(count, 31))
    bad = sorted(data.draw(few))
    plan = replace(PLAN, batch_rows=batch_rows, window_rows=window_rows)
    pixels = marked(count, bad)
    plain = scripted(mlp)
    model = scripted(mlp, FaultRule(action, when=(0, BAD)))

    found, undisturbed = run(model, pixels, plan), run(plain, pixels, plan)

    check(found, undisturbed, bad, "output" if action == "nan" else "predict")
    if action == "nan" or not bad:
        assert model.calls == plain.calls
    allowed, start = 0, 0
    for size in plain.calls:
        allowed += most_calls(size, sum(start <= row < start + size for row in bad))
        start += size
    assert len(model.calls) - len(plain.calls) <= allowed
    meters = [row["_meter"] for row in found if row["_meter"]]
    assert sum(m["failed"] for m in meters) == len(bad)
    assert sum(m["rows"] for m in meters) == count


@pytest.mark.parametrize("batch", [2, 64, 100, 1024])
def test_one_bad_row_costs_two_calls_a_halving_and_no_row_is_computed_twice_with_success(
    mlp: Path, batch: int
) -> None:
    for bad in (0, batch // 2, batch - 1):
        plan = replace(PLAN, batch_rows=batch, window_rows=batch)
        pixels = marked(batch, [bad])
        model, plain = scripted(mlp, FaultRule("raise", when=(0, BAD))), scripted(mlp)
        run(plain, pixels, plan)

        found = run(model, pixels, plan)

        assert len(model.calls) - len(plain.calls) <= 2 * ceil(log2(batch))
        assert [row["id"] for row in found if row["error"]] == [bad]
        assert found[bad]["error"]["message"] == "Fault: a failpoint said so at predict"


def test_texts_computed_by_length_keep_their_rows_when_one_is_bad(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path, "embed")
    texts = ["good day", "a", "bad night !", "the", "good good good", "?"]
    table = pa.table({"id": range(6), "text": texts})
    token = int(loaded(folder).decode(table.to_batches()[0]).values[2][1])  # of "bad"
    model = scripted(folder, FaultRule("raise", when=(1, token)))
    plan = Plan(("text",), ("id",), 6)

    found, plain = (
        pa.Table.from_batches(
            score(table.to_batches(), lambda m=m: m, plan, Meter(TaskAttempt()))
        ).to_pylist()
        for m in (model, loaded(folder))
    )

    assert [row["id"] for row in found if row["error"]] == [2]
    for row, other in zip(found, plain, strict=True):
        if row["id"] != 2:
            assert row["embedding"] == pytest.approx(other["embedding"], abs=TOLERANCE)


@pytest.mark.parametrize(
    ("action", "error"),
    [("raise", Fault), ("short", OutputMismatch), ("wide", OutputMismatch), ("oom", MemoryError)],
)
def test_a_model_that_fails_for_every_row_fails_the_task_and_bisects_no_further(
    mlp: Path, action: str, error: type[Exception]
) -> None:
    model = scripted(mlp, FaultRule(action))

    with pytest.raises(error):
        run(model, images(4096), replace(PLAN, batch_rows=4096))

    assert len(model.calls) <= 12 + 2 * row_isolation.ENOUGH


def test_rows_that_fail_after_others_were_scored_are_no_broken_model(mlp: Path) -> None:
    bad = range(40, 140)

    found = run(scripted(mlp, FaultRule("raise", when=(0, BAD))), marked(200, bad))

    assert [row["id"] for row in found if row["error"]] == list(bad)


@pytest.mark.parametrize("action", ["raise", "nan"])
def test_a_task_gives_up_past_the_allowance_and_says_what_was_first(mlp: Path, action: str) -> None:
    plan = replace(PLAN, batch_rows=512, max_failed_rows=5)
    model = scripted(mlp, FaultRule(action, when=(0, BAD)))
    run(model, marked(3000, range(500, 505)), plan)

    with pytest.raises(RunFailed, match="too many rows have failed") as raised:
        run(model, [b"short", *marked(3000, range(500, 1500))], plan)

    first = "5 bytes, expected 16"
    assert first in str(raised.value.got)
    assert raised.value.allowed == "5 in the whole run"
    assert "\n" not in str(raised.value.got)


def test_an_error_that_is_no_rows_fault_is_raised_at_once(mlp: Path) -> None:
    for error in (ModelError("the folder changed"), RuntimeError("CUDA error: device-side assert")):
        model = Counting(loaded(mlp))
        calls: list[int] = []

        def predict(values: Any, error: Exception = error, calls: list[int] = calls) -> Any:
            calls.append(len(values))
            raise error

        model.predict = predict  # type: ignore[method-assign]
        with pytest.raises(type(error)):
            run(model, images(64))
        assert len(calls) == 1


def test_an_outputs_type_that_one_row_spoils_is_that_rows_error(mlp: Path) -> None:
    model = Counting(loaded(mlp))

    def predict(values: Any) -> Any:
        outputs = dict(loaded(mlp).predict(values))
        outputs["label"] = np.where(values[:, 0, 0] == BAD, 0.5, outputs["label"])
        return outputs

    model.predict = predict  # type: ignore[method-assign]
    pixels = marked(100, [7, 93])

    check(run(model, pixels), run(loaded(mlp), pixels), [7, 93], "predict")


# memory


@settings(max_examples=25)
@given(st.integers(1, 300), st.integers(1, 40), st.none() | st.integers(1, 300))
def test_whatever_fits_into_memory_every_row_is_scored(
    mlp: Path, count: int, fits: int, batch_rows: int | None
) -> None:
    CEILINGS._least.clear()
    plan = replace(PLAN, batch_rows=batch_rows, window_rows=128)
    pixels = marked(count, [])

    found = run(scripted(mlp, max_rows=fits), pixels, plan)

    check(found, run(loaded(mlp), pixels, plan), [], "")


def test_a_single_row_without_memory_is_an_error_and_batches_stay_as_large(mlp: Path) -> None:
    plan = replace(PLAN, batch_rows=64, window_rows=64)
    model = scripted(mlp, FaultRule("oom", when=(0, BAD)))

    found = run(model, marked(256, [70]), plan)

    assert [row["id"] for row in found if row["error"]] == [70]
    assert found[70]["error"] == {
        "kind": "predict",
        "message": "out of memory: MemoryError: a failpoint said so",
    }
    assert model.calls[-2:] == [64, 64]


def test_the_next_task_of_a_worker_starts_below_what_did_not_fit(mlp: Path) -> None:
    plan = replace(PLAN, batch_rows=512, window_rows=512)
    first, second = scripted(mlp, max_rows=100), scripted(mlp, max_rows=100)

    run(first, images(1500), plan)
    run(second, images(1500), plan)

    assert max(first.calls) > 100
    assert max(second.calls) <= 100
    assert sum(rows > 100 for rows in first.calls) == 1 + 2 + 4  # of one batch, and of no later one


def test_ceilings_hold_the_least_cost_that_failed_by_model() -> None:
    ceilings = Ceilings()
    for cost in (800, 200, 400):
        ceilings.failed("a", cost)

    assert (ceilings.least("a"), ceilings.least("b")) == (200, None)
    assert sizer_for(None, None, failed=200).rows_of(1) == 100
    assert sizer_for(500, None, failed=200).rows_of(2) == 50


def test_one_bad_row_in_a_million_is_found_in_twenty_calls(mlp: Path) -> None:
    count, batch, bad = 1_000_000, 1024, 612_345
    drawn = np.random.default_rng(5).integers(0, BAD, (count, 16), np.uint8)
    drawn[bad, 0] = BAD
    pixels = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(16), count, [None, pa.py_buffer(drawn.tobytes())]
    )
    table = pa.table({"id": np.arange(count), "pixels": pixels.cast(pa.binary())})
    model, plain = scripted(mlp, FaultRule("raise", when=(0, BAD))), scripted(mlp)
    plan = replace(PLAN, batch_rows=batch, window_rows=32 * batch)
    for _ in score(table.to_batches(32 * batch), lambda: plain, plan, Meter(TaskAttempt())):
        pass

    errors, rows = [], 0
    for made in score(table.to_batches(32 * batch), lambda: model, plan, Meter(TaskAttempt())):
        rows += made.num_rows
        errors += [row for row in made.select(["id", "error"]).to_pylist() if row["error"]]

    assert rows == count
    assert [row["id"] for row in errors] == [bad]
    assert len(model.calls) - len(plain.calls) <= 2 * ceil(log2(batch))


class Quoting(Counting):
    """It raises, with the row's own bytes in the text."""

    def predict(self, values: Any) -> Any:
        self.calls.append(len(values))
        if len(values) > 1 or values[0].max() > 1 - 1e-6:
            raise ValueError(f"cannot compute {float(values[0].max())}, of card 4242")
        return self._model.predict(values)


def test_where_inputs_are_redacted_an_error_does_not_quote_them(mlp: Path) -> None:
    pixels: list[bytes | None] = [*marked(4, [2]), b"short"]

    said = run(Quoting(loaded(mlp)), pixels)
    hidden = run(Quoting(loaded(mlp)), pixels, replace(PLAN, hides_values=True))

    assert "4242" in said[2]["error"]["message"]
    assert hidden[2]["error"] == {
        "kind": "predict",
        "message": "ValueError: its text is withheld, as contract.redact asks",
    }
    assert [one["error"] and one["error"]["kind"] for one in hidden] == [
        one["error"] and one["error"]["kind"] for one in said
    ]
    assert hidden[4]["error"]["message"] in (
        said[4]["error"]["message"],
        hidden[2]["error"]["message"],
    )


def test_an_allowance_that_is_used_up_does_not_quote_redacted_inputs_either(mlp: Path) -> None:
    plan = replace(PLAN, hides_values=True, max_failed_rows=0)
    with pytest.raises(RunFailed, match="too many rows have failed") as refused:
        run(Quoting(loaded(mlp)), marked(4, [2]), plan)
    assert "4242" not in str(refused.value)
