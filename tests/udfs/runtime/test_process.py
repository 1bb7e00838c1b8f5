from __future__ import annotations

import subprocess
import sys
import time


def python(code: str) -> str:
    """What a fresh process prints."""
    program = f"from millrace.udfs.runtime.process import fresh_since, mark_used\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_the_birth_of_a_process_is_known_to_a_twentieth_of_a_second() -> None:
    """A worker's start-up is priced: a whole second more would exceed the task that it was part of."""
    before = time.time()
    born = float(python("print(fresh_since(0))"))

    assert before - 0.05 <= born <= before + 0.3


def test_a_process_owes_its_birth_only_to_what_began_before_it() -> None:
    assert python("import time; print(fresh_since(time.time()))") == "None"


def test_a_process_owes_its_birth_to_the_first_task_alone() -> None:
    assert python("fresh_since(0); print(fresh_since(0))") == "None"


def test_a_process_that_read_rows_before_owes_its_birth_to_them() -> None:
    assert python("mark_used(); print(fresh_since(0))") == "None"
