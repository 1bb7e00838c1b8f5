from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import AuthenticationError
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import image_table, images, loaded, pixel_mlp, tiny_bert

from millrace.schemas.errors import MillraceError, ModelError, RunFailed
from millrace.udfs.engine.metering import Meter, TaskAttempt
from millrace.udfs.engine.scoring import score
from millrace.udfs.host import protocol
from millrace.udfs.host.address import HostSpec
from millrace.udfs.host.client import HostedModel, hosted
from millrace.udfs.host.election import connect, read_address
from millrace.udfs.models.model_folder import write_card
from millrace.udfs.models.model_loading import digest_of, read_card
from millrace.udfs.runtime.plan import Plan, Runtime
from tests.udfs.host.host_client import inputs

TOLERANCE = 1e-5
CLIENT = Path(__file__).with_name("host_client.py")
ROWS = 400


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = tmp_path_factory.mktemp("models")
    return {"pixels": pixel_mlp(made / "mlp"), "text": tiny_bert(made / "bert", "classify")}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[HostSpec]:
    """A place whose owner is a process of its own: the host ends with it, and so with the test."""
    with owned_place(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostSpec]:
    """One host for all tests that leave it as it was."""
    with owned_place(tmp_path_factory.mktemp("shared")) as made:
        yield made


@contextmanager
def owned_place(folder: Path) -> Iterator[HostSpec]:
    owner = subprocess.Popen(["sleep", "600"])
    made = HostSpec(folder / "hosts", owner.pid, "cpu", 1 << 30)
    try:
        yield made
    finally:
        hosts = hosts_in(made.folder)
        owner.kill()
        owner.wait()
        _, alive = psutil.wait_procs(hosts, timeout=10)
    assert alive == []


def hosts_in(folder: Path) -> list[psutil.Process]:
    """The living host processes whose directories are below ``folder``."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        command = process.info["cmdline"] or []
        is_host = "millrace.udfs.host.server" in command and command[-1].startswith(str(folder))
        if is_host and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def lease(folder: Path, place: HostSpec, threads: int = 1) -> HostedModel:
    return hosted(folder, digest_of(folder), Runtime("cpu", threads=threads), place)


def start_client(
    folder: Path, kind: str, place: HostSpec, out: Path, seed: int, **changes: Any
) -> subprocess.Popen[str]:
    options = {
        "folder": str(folder),
        "kind": kind,
        "place": place.as_json(),
        "out": str(out),
        "seed": seed,
        "rows": ROWS,
        "batch_rows": 16,
        "window_rows": 100,
    }
    command = [sys.executable, str(CLIENT), json.dumps({**options, **changes})]
    root = str(Path(__file__).parents[3])
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    pipes = {"stdin": subprocess.PIPE if changes.get("paced") else None, "stdout": subprocess.PIPE}
    return subprocess.Popen(command, **pipes, text=True, env=environment)


def assert_equal_to_direct(out: Path, folder: Path, kind: str, seed: int, rows: int = ROWS) -> None:
    """The client's rows are those of its input, each once, in order, with what the model says without a host."""
    table = inputs(kind, rows, seed)
    direct = score(
        table.to_batches(), lambda: loaded(folder), Plan((kind,), ("id",)), Meter(TaskAttempt())
    )
    expected = pa.Table.from_batches(direct).drop_columns(["_meter"])
    found = pq.read_table(out)
    assert found.column_names == expected.column_names
    assert found["id"].to_pylist() == list(range(rows))
    assert found["error"].to_pylist() == expected["error"].to_pylist()
    for one, other in zip(found.to_pylist(), expected.to_pylist(), strict=True):
        assert one["label"] == other["label"]
        if one["error"] is None:
            assert one["score"] == pytest.approx(other["score"], abs=TOLERANCE)


@pytest.mark.parametrize("clients", [1, 2, 4, 8])
def test_all_answers_are_right_however_many_clients_there_are(
    models: dict[str, Path], shared: HostSpec, tmp_path: Path, clients: int
) -> None:
    kinds = [("pixels", "text")[number % 2] for number in range(clients)]
    started = [
        start_client(models[kind], kind, shared, tmp_path / f"{number}.parquet", number)
        for number, kind in enumerate(kinds)
    ]

    windows = [[int(rows) for rows in one.communicate()[0].split()] for one in started]
    assert [sum(rows) for rows in windows] == [ROWS] * clients
    assert min(len(rows) for rows in windows) > 1
    assert [one.returncode for one in started] == [0] * clients
    assert len(hosts_in(shared.folder)) == 1
    for number, kind in enumerate(kinds):
        assert_equal_to_direct(tmp_path / f"{number}.parquet", models[kind], kind, number)


def test_threads_of_one_client_get_their_own_answers(
    models: dict[str, Path], shared: HostSpec
) -> None:
    model, direct = lease(models["pixels"], shared), loaded(models["pixels"])
    questions = [
        np.random.default_rng(n).integers(0, 256, (n + 1, 4, 4), np.uint8) for n in range(60)
    ]

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(model.predict, questions))

    for question, answer in zip(questions, answers, strict=True):
        expected = direct.predict(question)
        assert answer.keys() == expected.keys()
        for name, values in expected.items():
            assert answer[name].dtype == values.dtype
            assert np.allclose(answer[name], values, atol=TOLERANCE)
    assert model.outstanding() == 0


def test_answers_outlive_the_next_question(models: dict[str, Path], shared: HostSpec) -> None:
    model = lease(models["pixels"], shared)
    ask = np.zeros((3, 4, 4), np.uint8)

    first = model.predict(ask)
    before = {name: values.copy() for name, values in first.items()}
    model.predict(ask + 200)

    assert all(np.array_equal(first[name], before[name]) for name in before)


def test_a_batch_larger_than_the_memory_first_shared_goes_through(
    models: dict[str, Path], shared: HostSpec
) -> None:
    model = lease(models["pixels"], shared)
    ask = np.random.default_rng(0).integers(0, 256, (100_000, 4, 4), np.uint8)

    found = model.predict(ask)

    assert np.allclose(
        found["score"], loaded(models["pixels"]).predict(ask)["score"], atol=TOLERANCE
    )


# errors


def test_an_error_of_one_clients_batch_reaches_it_and_nobody_else(
    models: dict[str, Path], shared: HostSpec
) -> None:
    good, bad = lease(models["text"], shared), lease(models["text"], shared)
    tokens = [np.array([2, 4, 5, 3], np.int32)] * 3
    expected = loaded(models["text"]).predict(tokens)["score"]
    failures: list[MillraceError] = []

    def fail() -> None:
        for _ in range(30):
            with pytest.raises(RunFailed) as caught:
                bad.predict([np.array([2, 9999, 5, 3], np.int32)])
            failures.append(caught.value)

    failing = threading.Thread(target=fail)
    failing.start()
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(good.predict, [tokens] * 90))
    failing.join()

    assert all(np.allclose(answer["score"], expected, atol=TOLERANCE) for answer in answers)
    assert len(failures) == 30
    assert all("IndexError: index out of range" in str(error.got) for error in failures)
    assert np.allclose(bad.predict(tokens)["score"], expected, atol=TOLERANCE)


def test_a_model_that_cannot_be_loaded_is_the_clients_own_error(
    tmp_path: Path, shared: HostSpec
) -> None:
    folder = pixel_mlp(tmp_path / "broken")
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    with pytest.raises(ModelError) as direct:
        loaded(folder)

    with pytest.raises(ModelError) as caught:
        lease(folder, shared)

    assert str(caught.value) == str(direct.value)


def test_a_folder_that_changed_is_refused_before_a_host_starts(
    tmp_path: Path, place: HostSpec
) -> None:
    folder = pixel_mlp(tmp_path / "changed")

    with pytest.raises(ModelError, match="changed during the run"):
        hosted(folder, "0" * 64, Runtime("cpu"), place)

    assert hosts_in(place.folder) == []


def test_a_backend_that_cannot_be_had_is_refused_in_the_hosts_words(
    models: dict[str, Path], shared: HostSpec
) -> None:
    with pytest.raises(RunFailed, match="cannot be run with openvino") as caught:
        hosted(models["pixels"], digest_of(models["pixels"]), Runtime("cpu", "openvino"), shared)

    assert "torch fp32 on cpu" in str(caught.value.allowed)


def test_a_model_that_writes_texts_is_refused_before_a_host_starts(
    tmp_path: Path, place: HostSpec
) -> None:
    folder = tiny_bert(tmp_path / "writer", "classify")
    card = read_card(folder).model_dump(mode="json", exclude={"files", "signature", "postprocess"})
    outputs, step = (
        {"text": {"type": "string"}},
        {"name": "generate", "options": {"max_new_tokens": 4}},
    )
    signature = {"inputs": {"text": {"type": "string"}}, "outputs": outputs}
    write_card(folder, **card, signature=signature, postprocess=step)

    with pytest.raises(RunFailed, match="writes texts") as caught:
        lease(folder, place)

    assert "engine.host: off" in str(caught.value.next)
    assert hosts_in(place.folder) == []


def test_what_ran_out_of_memory_there_is_a_memory_error_here() -> None:
    raised = [MemoryError("x"), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")]

    rebuilt = [
        protocol.rebuilt(json.loads(json.dumps(protocol.error_message(error)))) for error in raised
    ]

    assert [type(error) for error in rebuilt] == [MemoryError, MemoryError]
    assert "9 bytes" in str(rebuilt[1])


def test_a_host_that_does_not_come_up_in_time_is_an_error_and_not_left_behind(
    models: dict[str, Path], place: HostSpec
) -> None:
    with pytest.raises(RunFailed, match="did not start"):
        lease(models["pixels"], replace(place, start_s=0.01))

    assert hosts_in(place.folder) == []


# who may ask


def test_nobody_but_this_user_can_reach_the_host_and_nothing_listens_on_the_network(
    models: dict[str, Path], shared: HostSpec
) -> None:
    model = lease(models["pixels"], shared)
    address = read_address(shared.directory)
    assert address is not None

    modes = {path.name: path.stat().st_mode & 0o777 for path in shared.directory.iterdir()}
    connections = psutil.Process(address["pid"]).net_connections("all")

    assert shared.directory.stat().st_mode & 0o777 == 0o700
    assert modes == dict.fromkeys(["address", "lock", "log", address["socket"]], 0o600)
    assert {one.family for one in connections} == {socket.AF_UNIX}
    assert model.device == "cpu"


def test_who_does_not_know_the_key_is_refused_and_the_host_serves_on(
    models: dict[str, Path], shared: HostSpec
) -> None:
    model = lease(models["pixels"], shared)
    address = read_address(shared.directory)
    assert address is not None
    stranger = socket.socket(socket.AF_UNIX)
    stranger.connect(str(shared.directory / address["socket"]))

    with pytest.raises(AuthenticationError):
        protocol.proven(stranger, b"a guess", is_host=False, timeout_s=10)

    assert len(model.predict(np.zeros((2, 4, 4), np.uint8))["label"]) == 2


def test_a_host_that_does_not_know_the_key_is_not_believed(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)

    def pretend() -> None:
        with pytest.raises((AuthenticationError, EOFError, OSError)):
            protocol.proven(theirs, b"another key", is_host=True, timeout_s=10)

    host = threading.Thread(target=pretend)
    host.start()
    with pytest.raises((AuthenticationError, EOFError)):
        protocol.proven(ours, b"the key", is_host=False, timeout_s=10)
    host.join()


def test_who_connects_and_says_nothing_keeps_nobody_waiting(
    models: dict[str, Path], shared: HostSpec
) -> None:
    lease(models["pixels"], shared)
    address = read_address(shared.directory)
    assert address is not None
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(shared.directory / address["socket"]))

        again = lease(models["pixels"], shared)

        assert len(again.predict(np.zeros((1, 4, 4), np.uint8))["label"]) == 1


def test_a_message_without_sense_ends_its_senders_lease_alone(
    models: dict[str, Path], shared: HostSpec
) -> None:
    model, other = lease(models["pixels"], shared), lease(models["pixels"], shared)
    protocol.send(other._idle[0]._connection, {"do": "predict", "bytes": 1 << 40})

    answer = protocol.receive(other._idle[0]._connection)

    assert "longer than the memory" in answer["what"]
    assert len(model.predict(np.zeros((1, 4, 4), np.uint8))["label"]) == 1


def test_a_directory_that_others_could_enter_is_refused(place: HostSpec) -> None:
    place.directory.mkdir(parents=True)
    place.directory.chmod(0o755)

    with pytest.raises(RunFailed, match="not this user's alone") as caught:
        connect(place)

    assert "drwxr-xr-x" in str(caught.value.got)


def test_a_folder_whose_path_is_too_long_for_a_socket_is_no_obstacle(
    models: dict[str, Path], place: HostSpec
) -> None:
    deep = replace(place, folder=place.folder / ("x" * 200))

    assert len(lease(models["pixels"], deep).predict(np.zeros((1, 4, 4), np.uint8))["label"]) == 1


def test_paths_may_be_relative_to_where_the_client_is(
    models: dict[str, Path], place: HostSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(models["pixels"].parent)
    near = replace(place, folder=Path(os.path.relpath(place.folder)))

    model = lease(Path(models["pixels"].name), near)

    assert len(model.predict(np.zeros((1, 4, 4), np.uint8))["label"]) == 1
    assert [process.cwd() for process in hosts_in(place.folder)] == [str(place.directory)]


def test_an_owner_that_does_not_live_is_refused(place: HostSpec) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()

    with pytest.raises(RunFailed, match=f"no process {gone.pid}"):
        connect(replace(place, owner=gone.pid))


def test_owners_and_devices_have_hosts_of_their_own_and_equal_ones_share(place: HostSpec) -> None:
    other = replace(place, owner=os.getpid())

    names = {place.directory, other.directory, replace(place, device="cuda:1").directory}

    assert len(names) == 3
    assert HostSpec.from_json(place.as_json()) == place
    assert replace(place, idle_s=1).directory == place.directory


def test_the_engine_decodes_with_the_model_of_a_host(
    models: dict[str, Path], shared: HostSpec
) -> None:
    model, direct = lease(models["pixels"], shared), loaded(models["pixels"])
    (batch,) = image_table([*images(3), None, b"short"]).select(["pixels"]).to_batches()

    found, expected = model.decode(batch), direct.decode(batch)

    assert np.array_equal(found.values, expected.values)
    assert dict(found.errors) == dict(expected.errors)
    assert (model.card, model.device, model.runtime) == (direct.card, "cpu", Runtime("cpu"))
