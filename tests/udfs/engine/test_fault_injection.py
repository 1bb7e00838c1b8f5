from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import images, loaded, pixel_mlp

from millrace.schemas.errors import UsageError
from millrace.udfs.engine import fault_actions, fault_injection
from millrace.udfs.engine.fault_script import VARIABLE, FaultRule, FaultScript
from millrace.udfs.runtime.examples import Values


def driver(script: object, folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a process of its own, with a script."""
    path = folder / "script.json"
    path.write_text(json.dumps(script), "utf-8")
    return subprocess.run(
        [sys.executable, "-c", f"from millrace.udfs.engine.fault_injection import reached\n{code}"],
        env={**os.environ, VARIABLE: str(path)},
        capture_output=True,
        text=True,
        check=False,
    )


TWICE = "for n in range(2):\n    reached('here'); reached('there'); print(n, flush=True)"


def test_the_driver_is_killed_at_the_time_that_the_script_names(tmp_path: Path) -> None:
    script = {"driver": [{"at": "here", "action": "kill", "nth": 2}]}

    done = driver(script, tmp_path, TWICE)

    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "0\n")


def test_a_rule_with_a_file_fires_in_one_process_only(tmp_path: Path) -> None:
    script = {"driver": [{"at": "there", "action": "raise", "once": str(tmp_path / "fired")}]}

    first, second = driver(script, tmp_path, TWICE), driver(script, tmp_path, TWICE)

    assert first.returncode == 1
    assert "Fault: a failpoint said so at there" in first.stderr
    assert (second.returncode, second.stdout) == (0, "0\n1\n")


def test_without_the_variable_nothing_is_done_and_the_model_is_the_model(tmp_path: Path) -> None:
    model = loaded(pixel_mlp(tmp_path))

    fault_injection.reached("here")

    assert not fault_injection.ON
    assert fault_injection.around(model) is model


@pytest.mark.parametrize(
    "script",
    [
        "{",
        "[]",
        '{"driver": [{"at": "x", "action": "dance"}]}',
        '{"driver": [{"at": "x", "action": "nan"}]}',
        '{"predict": {"rules": [{"action": "raise", "where": 1}]}}',
        '{"predict": {"max": 1}}',
        '{"drive": []}',
    ],
)
def test_a_script_that_says_something_else_is_refused(tmp_path: Path, script: str) -> None:
    path = tmp_path / "script.json"
    path.write_text(script, "utf-8")

    with pytest.raises(UsageError, match=VARIABLE):
        FaultScript.read(path)


def test_calls_are_counted_in_lines_before_anything_happens(tmp_path: Path) -> None:
    values: Values = loaded(pixel_mlp(tmp_path)).decode(batch(5)).values
    script = FaultScript(calls=tmp_path / "calls", rules=(FaultRule("raise"),))
    model = fault_injection.FaultyModel(loaded(tmp_path), script)

    for count in (5, 2):
        with pytest.raises(fault_actions.Fault):
            model.predict(values[:count])

    assert (tmp_path / "calls").read_text("utf-8") == "5\n2\n"


def batch(count: int) -> object:
    from helpers import image_table

    return image_table(images(count)).to_batches()[0]
