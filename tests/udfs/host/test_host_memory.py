from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from helpers import pixel_mlp
from hypothesis import given
from hypothesis import strategies as st

from millrace.schemas.errors import ModelError, RunFailed
from millrace.udfs.host.address import HostSpec
from millrace.udfs.host.loading import estimate_bytes, limit_bytes
from millrace.udfs.host.model_cache import ModelCache, NoRoomYet
from millrace.udfs.runtime.plan import Runtime
from tests.udfs.host.test_host import lease, place

__all__ = ["place"]  # a fixture

ASK = np.zeros((2, 4, 4), np.uint8)


def shelf(limit_bytes: int, reserve_bytes: int = 0) -> ModelCache[str]:
    return ModelCache(limit_bytes, reserve_bytes, lambda: None)


steps = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.integers(0, 3), st.integers(1, 60), st.booleans()),
    max_size=40,
)


@given(steps, st.integers(0, 30))
def test_no_more_is_held_than_the_limit_and_nothing_leased_is_evicted(
    leases: list[tuple[str, int, int, bool]], reserve_bytes: int
) -> None:
    cache = shelf(100, reserve_bytes)
    sizes: dict[str, int] = {}
    leased: dict[int, set[str]] = {}
    for key, tenant, drawn, leaves in leases:
        size = sizes.setdefault(key, drawn)
        try:
            assert (
                cache.lease(key, tenant, size, lambda k=key, s=size: (f"model {k}", s))
                == f"model {key}"
            )
            leased.setdefault(tenant, set()).add(key)
        except NoRoomYet:
            others = {k for keys in leased.values() for k in keys}
            assert sum(sizes[k] for k in others) + size + reserve_bytes > 100
        except RunFailed:
            assert size + reserve_bytes > 100
        if leaves:
            cache.release(tenant)
            leased.pop(tenant, None)
        assert (
            sum(one.size_bytes for one in cache.models.values()) + reserve_bytes <= 100
            or not cache.models
        )
        assert {k for keys in leased.values() for k in keys} <= cache.models.keys()


def test_the_least_recently_used_goes_first_and_no_more_than_must() -> None:
    cache = shelf(100)
    for key in ("a", "b", "c"):
        cache.lease(key, 0, 30, lambda: ("model", 30))
    cache.use("a")
    cache.release(0)

    cache.lease("d", 1, 40, lambda: ("model", 40))

    assert set(cache.models) == {"a", "c", "d"}


def test_a_model_that_is_too_large_by_itself_is_refused_with_the_numbers_and_evicts_nothing() -> (
    None
):
    cache = shelf(1000, 7)
    cache.lease("a", 0, 300, lambda: ("model", 300))
    cache.release(0)

    with pytest.raises(RunFailed, match="no memory for the model") as caught:
        cache.lease("b", 1, 994, lambda: ("model", 994))

    assert caught.value.got == "994 bytes needed, 7 reserved, held: 300 (0 leases)"
    assert caught.value.allowed == "1,000 bytes on the device"
    assert set(cache.models) == {"a"}


def test_a_model_that_fails_to_load_holds_nothing() -> None:
    cache = shelf(100)

    def fail() -> tuple[str, int]:
        raise ModelError("broken")

    with pytest.raises(ModelError):
        cache.lease("a", 0, 50, fail)

    assert cache.models == {}


@pytest.mark.parametrize(("precision", "bytes_each"), [("fp32", 4), ("bf16", 2), ("int8", 1)])
def test_a_model_is_estimated_by_its_weights_in_the_precision_that_it_will_have(
    tmp_path: Path, precision: str, bytes_each: int
) -> None:
    weights = 16 * 8 + 8 + 8 * 3 + 3  # of the two dense layers, with their biases

    found = estimate_bytes(pixel_mlp(tmp_path), Runtime("cpu", precision=precision))

    assert found == int(1.25 * weights * bytes_each)


def test_where_nobody_says_a_host_takes_half_of_the_machines_memory() -> None:
    assert limit_bytes("cpu") == psutil.virtual_memory().total // 2


# in a real host


@pytest.fixture
def two(tmp_path: Path, place: HostSpec) -> tuple[Path, Path, HostSpec]:
    """Two models, and a place that has room for one of them."""
    first, second = pixel_mlp(tmp_path / "first"), pixel_mlp(tmp_path / "second")
    need = estimate_bytes(first, Runtime("cpu"))
    return first, second, replace(place, limit_bytes=int(1.5 * need))


def spoil(folder: Path) -> None:
    """Change the weights: who has them in memory does not notice, who loads them does."""
    (folder / "weights.safetensors").write_bytes(b"spoilt")


def test_a_model_that_nobody_leases_stays_until_its_room_is_needed(
    two: tuple[Path, Path, HostSpec],
) -> None:
    first, second, place = two
    keeper = lease(first, place)
    spoil(first)
    keeper.close()
    lease(first, place).close()  # still there: not loaded again

    lease(second, place).close()

    with pytest.raises(ModelError, match="is not the one that"):
        lease(first, place)


def test_a_model_too_large_for_the_whole_device_is_refused(
    two: tuple[Path, Path, HostSpec],
) -> None:
    first, _, place = two

    with pytest.raises(RunFailed, match="no memory for the model") as caught:
        lease(first, replace(place, limit_bytes=10))

    assert caught.value.allowed == "10 bytes on the device"


def test_a_model_waits_for_the_room_of_a_leased_one_and_comes_when_it_is_let_go(
    two: tuple[Path, Path, HostSpec],
) -> None:
    first, second, place = two
    holding = lease(first, place)
    done: list[float] = []

    def wait() -> None:
        model = lease(second, place)
        done.append(time.monotonic())
        assert len(model.predict(ASK)["label"]) == 2

    waiting = threading.Thread(target=wait)
    waiting.start()
    time.sleep(0.5)
    assert done == []
    assert len(holding.predict(ASK)["label"]) == 2  # nobody else is held up
    released_at = time.monotonic()
    holding.close()
    waiting.join()

    assert 0 < done[0] - released_at < 5


def test_a_model_that_waits_for_room_too_long_is_refused_with_the_numbers(
    two: tuple[Path, Path, HostSpec],
) -> None:
    first, second, place = two
    place = replace(place, room_s=0.5)
    holding = lease(first, place)

    with pytest.raises(RunFailed, match="no memory for the model") as caught:
        lease(second, place)

    assert "(1 leases)" in str(caught.value.got)
    assert len(holding.predict(ASK)["label"]) == 2
