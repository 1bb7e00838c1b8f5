"""What is said where no Spark Connect server can be used. Runs through one are in tests/submit/test_places.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from millrace.pipelines.cli import main
from millrace.pipelines.spark.connect import REMOTE, open_remote
from millrace.schemas.errors import UsageError
from tests.clusters import free_port

JOB = Path(__file__).resolve().parents[3] / "conf" / "jobs" / "digits.yaml"


def test_a_server_that_is_not_there_is_told_at_once_and_not_after_ten_minutes() -> None:
    url = f"sc://127.0.0.1:{free_port()}"
    with pytest.raises(UsageError, match="no Spark Connect server answers") as told:
        open_remote(url, {}, {})
    assert url in (told.value.got or "")
    assert REMOTE in (told.value.next or "")


@pytest.mark.parametrize("url", ["local[2]", "spark://127.0.0.1:7077", "sc://"])
def test_an_address_that_is_no_connect_servers_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="no server's address") as told:
        open_remote(url, {}, {})
    assert (told.value.got, told.value.allowed) == (url, "sc://HOST:PORT")


def test_a_run_without_its_server_ends_with_the_exit_code_of_a_wrong_argument(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(REMOTE, f"sc://127.0.0.1:{free_port()}")
    words = ["run", str(JOB), "--set", f"output.path={tmp_path}", "--json"]
    ended = CliRunner().invoke(main, words)
    assert ended.exit_code == 2, ended.output
    assert "no Spark Connect server answers" in ended.output
