"""Which commits a table still has after any sequence of appends and restores, on real Delta tables."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.pipelines.lake import live_rows
from millrace.pipelines.lake.delta_history import Commits
from millrace.pipelines.lake.location import LakeLocation


def append(folder: Path, name: str) -> None:
    told = CommitProperties(
        custom_metadata={"userMetadata": f"millrace {name}"},
        app_transactions=[Transaction(name, 1)],
    )
    write_deltalake(folder, pa.table({"name": [name]}), mode="append", commit_properties=told)


def names(folder: Path) -> list[str]:
    found: list[str] = live_rows.rows(DeltaTable(folder)).column("name").to_pylist()
    return found


# A step is the commit of one of three units, or a restore to the version that many steps ago.
STEPS = st.lists(st.one_of(st.sampled_from("abc"), st.integers(1, 5)), min_size=1, max_size=9)


@settings(max_examples=40)
@given(STEPS)
def test_a_unit_is_committed_again_only_where_a_restore_took_its_rows(
    steps: list[str | int],
) -> None:
    with TemporaryDirectory() as lake:
        table = Path(lake) / "t"
        append(table, "first")
        for step in steps:
            latest = DeltaTable(table).version()
            if isinstance(step, int):
                if latest - step >= 0:
                    DeltaTable(table).restore(latest - step)
                continue
            name = Commits.of(LakeLocation(Path(lake)), "t").name(step)
            if DeltaTable(table).transaction_version(name) is None:  # as the sink asks
                append(table, name)
            rows = [one.partition(":")[0] for one in names(table)]
            assert rows.count(step) == 1


def test_what_was_never_restored_keeps_its_name(tmp_path: Path) -> None:
    append(tmp_path / "t", "a")
    found = Commits.of(LakeLocation(tmp_path), "t")
    assert (found.name("a"), found.name("b")) == ("a", "b")
    assert not found.lost("a")
    assert not found.lost("b")


def test_a_commit_that_a_restore_took_is_lost_until_it_is_made_again(tmp_path: Path) -> None:
    append(tmp_path / "t", "first")
    append(tmp_path / "t", "a")
    DeltaTable(tmp_path / "t").restore(0)
    found = Commits.of(LakeLocation(tmp_path), "t")
    assert found.lost("a")
    append(tmp_path / "t", found.name("a"))
    assert not Commits.of(LakeLocation(tmp_path), "t").lost("a")


def test_a_restore_asked_for_by_time_is_understood(tmp_path: Path) -> None:
    from datetime import UTC, datetime
    from time import sleep

    append(tmp_path / "t", "first")
    sleep(0.05)
    moment = datetime.now(UTC)
    sleep(0.05)
    append(tmp_path / "t", "a")
    DeltaTable(tmp_path / "t").restore(moment)
    assert names(tmp_path / "t") == ["first"]
    assert Commits.of(LakeLocation(tmp_path), "t").lost("a")


def test_a_table_that_is_not_there_has_no_commits(tmp_path: Path) -> None:
    assert Commits.of(LakeLocation(tmp_path), "t").name("a") == "a"
