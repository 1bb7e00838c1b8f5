"""What vacuum removes and what it leaves, on real Delta tables."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from deltalake import DeltaTable, write_deltalake

from millrace.pipelines.cli import main
from millrace.pipelines.lake import live_rows, run_lock
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.lake.run_lock import LeaseTimes, claimed
from millrace.pipelines.lake.vacuum import find_leftovers, remove_leftovers
from millrace.schemas.errors import UsageError
from millrace.schemas.tables import CALIBRATIONS, RUNS

WEEK, HOUR = timedelta(days=7), timedelta(hours=1)
NOW = datetime.now(UTC)
LEASE = LeaseTimes(expires_s=2.0, beat_s=0.05)
DIGEST = "d0" * 32


def fingerprint(run_id: str) -> str:
    return (run_id.encode().hex() + "0" * 64)[:64]


def event(run_id: str, number: int, state: str, at: datetime, **more: Any) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "event": number,
        "job": "j",
        "fingerprint": fingerprint(run_id),
        "state": state,
        "at": at,
        "pinned_input": json.dumps({"format": "parquet", "root": "/data/in", "version": None}),
        "model_digest": DIGEST,
        **more,
    }


def tell(lake: Path, *events: dict[str, Any]) -> None:
    rows = pa.Table.from_pylist(list(events), schema=RUNS.arrow_schema)
    write_deltalake(str(lake / "runs"), rows, mode="append")


def aged(path: Path, by: timedelta, text: str = "x") -> Path:
    """A file, and the folders it made, as if last changed so long ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_text(text)
    for one in (path, path.parent):
        os.utime(one, (time.time() - by.total_seconds(),) * 2)
    return path


def orphan(table: Path, name: str, by: timedelta) -> Path:
    """A data file that no commit names, as a driver that was killed before its commit leaves it."""
    pq.write_table(pa.table({"a": [9]}), table / name)
    return aged(table / name, by)


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """A lake of a run that is done and one that was killed, with tables of two versions."""
    lake = tmp_path / "lake"
    for values in ([1], [2]):
        write_deltalake(str(lake / "predictions_j"), pa.table({"a": values}), mode="overwrite")
    tell(
        lake,
        event("done", 0, "started", NOW - 5 * HOUR),
        event("done", 1, "done", NOW - 3 * HOUR),
        event("dead", 0, "started", NOW - 300 * HOUR),
    )
    return lake


def paths(lake: Path, older_than: timedelta = WEEK) -> dict[str, str]:
    return {
        str(one.path.relative_to(lake)): one.kind
        for one in find_leftovers(LakeLocation(lake), older_than, LEASE)
    }


def clean(lake: Path, older_than: timedelta = WEEK) -> None:
    assert (
        remove_leftovers(
            LakeLocation(lake), find_leftovers(LakeLocation(lake), older_than, LEASE), LEASE
        )
        == {}
    )


def test_a_lake_in_order_has_nothing_to_remove(lake: Path) -> None:
    assert paths(lake) == {}


def test_data_files_of_dead_runs_go_and_committed_or_young_ones_stay(lake: Path) -> None:
    table = lake / "predictions_j"
    old, young = orphan(table, "part-0.parquet", 2 * WEEK), orphan(table, "part-1.parquet", HOUR)
    crc = aged(table / ".part-0.parquet.crc", 2 * WEEK)
    kept = aged(table / "deletion_vector_0.bin", 2 * WEEK)
    named = [Path(uri) for uri in DeltaTable(str(table)).file_uris()]
    for path in named:
        aged(path, 100 * WEEK)  # age alone is no reason
    version = DeltaTable(str(table)).version()

    assert paths(lake) == {"predictions_j/part-0.parquet": "data"}
    assert old.exists()
    clean(lake)

    assert not old.exists()
    assert not crc.exists()
    assert all(path.exists() for path in (young, kept, *named))
    table_now = DeltaTable(str(table))
    assert table_now.version() == version  # else jobs that read it would score all of it again
    assert live_rows.rows(table_now).to_pydict() == {"a": [2]}


def test_old_versions_go_when_they_are_older_than_asked(lake: Path) -> None:
    log = lake / "predictions_j" / "_delta_log" / "00000000000000000001.json"
    before = DeltaTable(str(lake / "predictions_j"), version=0).file_uris()
    assert paths(lake, 3 * HOUR) == {}
    log.write_text(_removed_earlier(log, by=4 * HOUR))

    assert list(paths(lake, 3 * HOUR).values()) == ["data"]
    clean(lake, 3 * HOUR)

    assert [Path(uri).exists() for uri in before] == [False]
    assert live_rows.rows(DeltaTable(str(lake / "predictions_j"))).to_pydict() == {"a": [2]}


def _removed_earlier(log: Path, by: timedelta) -> str:
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines:
        if "remove" in line:
            line["remove"]["deletionTimestamp"] -= int(by.total_seconds() * 1000)
    return "\n".join(json.dumps(line) for line in lines) + "\n"


@pytest.mark.parametrize(("state", "stays"), [("failed", True), ("done", False)])
def test_the_version_that_an_unfinished_run_reads_stays(
    lake: Path, state: str, stays: bool
) -> None:
    table = lake / "predictions_j"
    log = table / "_delta_log" / "00000000000000000001.json"
    log.write_text(_removed_earlier(log, by=2 * WEEK))
    pin = json.dumps({"format": "delta", "root": str(table.resolve()), "version": 0})
    tell(
        lake,
        event("reader", 0, "started", NOW - 2 * HOUR, pinned_input=pin),
        event("reader", 1, state, NOW - HOUR, pinned_input=pin),
    )

    clean(lake)

    (uri,) = DeltaTable(str(table), version=0).file_uris()
    assert Path(uri).exists() is stays


def test_a_table_whose_files_an_unfinished_run_reads_stays_as_it_is(lake: Path) -> None:
    orphan(lake / "predictions_j", "part-0.parquet", 2 * WEEK)
    pin = {"format": "parquet", "root": str((lake / "predictions_j").resolve()), "version": None}
    tell(lake, event("reader", 0, "started", NOW - HOUR, pinned_input=json.dumps(pin)))

    assert paths(lake) == {}


def test_scratch_of_dead_runs_goes_and_that_of_a_live_one_stays(lake: Path) -> None:
    tell(lake, event("live", 0, "started", NOW - HOUR))
    for run in ("live", "dead", "done"):
        aged(lake / "_staging" / run / "part.parquet", timedelta(0))
    aged(lake / "_staging" / "check-young" / "part.parquet", HOUR)
    aged(lake / "_staging" / "check-old" / "part.parquet", 2 * WEEK)
    found = {
        "_staging/dead": "scratch",
        "_staging/done": "scratch",
        "_staging/check-old": "scratch",
    }

    with claimed(LakeLocation(lake), fingerprint("live"), "live", lease=LEASE) as live:
        assert paths(lake) == found
        clean(lake)
        live.check()

    left = sorted(path.name for path in (lake / "_staging").iterdir())
    assert left == ["check-young", "live"]


def test_scratch_that_a_driver_took_up_after_the_search_stays(lake: Path) -> None:
    part = aged(lake / "_staging" / "dead" / "part.parquet", timedelta(0))
    found = find_leftovers(LakeLocation(lake), WEEK, LEASE)

    with claimed(LakeLocation(lake), fingerprint("dead"), "dead", lease=LEASE) as ours:
        left = remove_leftovers(LakeLocation(lake), found, LEASE)
        ours.check()

    assert part.exists()
    assert "another driver is at work" in left[lake / "_staging" / "dead"]


def test_claims_of_finished_runs_go_and_others_stay(lake: Path) -> None:
    for run in ("done", "dead", "never"):
        with claimed(LakeLocation(lake), fingerprint(run), run, lease=LEASE):
            pass
    folder = lake / "_claims"
    name = run_lock.key(fingerprint("done"))

    with claimed(LakeLocation(lake), "li" * 32, "live", lease=LEASE) as live:
        assert paths(lake) == {f"_claims/{name}": "claim"}
        clean(lake)
        live.check()

    assert not (folder / name).exists()
    assert {run_lock.key(fingerprint(run)) for run in ("dead", "never")} < {
        path.name for path in folder.iterdir()
    }


def test_conversions_that_no_calibration_and_no_unfinished_run_names_go(lake: Path) -> None:
    row = {"run_id": "done", "model_digest": "aa" * 32}
    rows = pa.Table.from_pylist([row], schema=CALIBRATIONS.arrow_schema)
    write_deltalake(str(lake / "calibrations"), rows)
    for digest in ("aa" * 8, DIGEST[:16], "bb" * 8):
        file = aged(lake / "_models" / digest / "openvino-1-fp32" / "model.xml", 2 * WEEK)
        aged(file.parent, 2 * WEEK)
    aged(lake / "_models" / ("cc" * 8) / "openvino-1-fp32" / "model.xml", HOUR)

    assert paths(lake) == {f"_models/{'bb' * 8}": "model"}


def test_event_logs_go_when_their_application_is_gone(lake: Path) -> None:
    for name in ("local-1.inprogress", "local-2.inprogress", "local-3", "spark.log"):
        aged(lake / "_logs" / name, 2 * WEEK)
    aged(lake / "_logs" / "local-4.inprogress", HOUR)
    words = "import sys, time; open(sys.argv[1]); f = open(sys.argv[1]); print(flush=True); time.sleep(60)"
    command = [sys.executable, "-c", words, str(lake / "_logs" / "local-2.inprogress")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as application:
        assert application.stdout is not None
        application.stdout.readline()
        found = paths(lake)
        application.kill()

    assert found == {"_logs/local-1.inprogress": "log"}


def test_an_age_below_the_longest_attempt_is_refused_with_its_run(lake: Path) -> None:
    with pytest.raises(UsageError, match="run done took 2.0 h"):
        find_leftovers(LakeLocation(lake), 2 * HOUR, LEASE)

    assert paths(lake, 3 * HOUR) == {}  # the dead run says nothing of how long it lived


def test_a_live_run_s_own_age_counts_also_where_the_clock_was_set(lake: Path) -> None:
    tell(lake, event("live", 0, "started", NOW - 10 * 24 * HOUR))

    with (
        claimed(LakeLocation(lake), fingerprint("live"), "live", lease=LEASE),
        pytest.raises(UsageError, match=r"run live took 240\.\d h"),
    ):
        find_leftovers(LakeLocation(lake), WEEK, LEASE)


def test_a_table_s_own_retention_is_kept_to(lake: Path) -> None:
    table = DeltaTable(str(lake / "predictions_j"))
    table.alter.set_table_properties({"delta.deletedFileRetentionDuration": "interval 30 days"})

    with pytest.raises(UsageError, match="table predictions_j cannot be vacuumed at that age"):
        find_leftovers(LakeLocation(lake), WEEK, LEASE)
    assert paths(lake, timedelta(days=31)) == {}


def test_the_command_shows_first_and_removes_when_told(lake: Path) -> None:
    part = aged(lake / "_staging" / "dead" / "part.parquet", timedelta(0), "12345")
    run = CliRunner()

    shown = run.invoke(main, ["vacuum", "--lake", str(lake)])
    assert shown.exit_code == 0
    assert "its run is started, and no driver holds it" in shown.output
    assert "files and folders: 1; bytes: 5; nothing was removed: --yes does it" in shown.output
    assert part.exists()

    told = json.loads(
        run.invoke(main, ["vacuum", "--lake", str(lake), "--yes", "--json"]).output.splitlines()[-1]
    )
    assert (told["removed"], told["bytes"], told["left"]) == (True, 5, {})
    assert [(one["kind"], one["path"]) for one in told["found"]] == [
        ("scratch", str(lake / "_staging" / "dead"))
    ]
    assert not (lake / "_staging").exists()
    assert not (lake / "_claims").exists()
    assert run.invoke(main, ["vacuum", "--lake", str(lake / "nothing")]).exit_code == 2
