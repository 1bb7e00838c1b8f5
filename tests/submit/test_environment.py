"""The environment archive moves: it works where neither the Python nor the packages it was made from exist."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import yaml

from millrace.udfs.models.conversion import convert
from millrace.udfs.models.model_loading import digest_of
from tests import clusters
from tests.helpers import image_table, images, job_of, loaded, write_parquet
from tests.submitted import ROOT, submit

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]

# What a worker does, but for Spark: the model is loaded, a batch is decoded, computed and finished.
SCORED = """
import json, sys
from pathlib import Path
import pyarrow.parquet as pq
from millrace.udfs.models import model_loading as base
from millrace.udfs.runtime.plan import Runtime
folder, digest, rows = sys.argv[1:]
model = base.load(Path(folder), digest, Runtime("cpu", "onnxruntime"))
(batch,) = pq.read_table(rows).select(["pixels"]).to_batches()
told = {name: value.tolist() for name, value in model.predict(model.decode(batch).values).items()}
mapped = sorted({line.split()[-1] for line in open("/proc/self/maps") if ".so" in line})
child = "import sys, ssl, sqlite3, millrace.pipelines.cli; print(sys.prefix)"
import subprocess
prefix = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True).stdout
print(json.dumps({"prefix": prefix.strip(), "outputs": told, "mapped": mapped}))
"""
SYSTEM = (
    "ld-linux",
    "libc.",
    "libm.",
    "libdl.",
    "librt.",
    "libpthread.",
    "libstdc++.",
    "libgcc_s.",
    "libresolv.",
)


@pytest.fixture(scope="module")
def archive(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make environment WITHOUT=torch` builds: torch alone is most of what there is."""
    folder = tmp_path_factory.mktemp("environment")
    wheel = folder / "millrace-0.2.0-py3-none-any.whl"
    wheel.write_bytes(package.read_bytes())
    out, uv = folder / "environment.tar.gz", Path(sysconfig.get_paths()["scripts"]) / "uv"
    command = [str(ROOT / "deploy" / "environment.sh"), sys.executable, str(uv)]
    command += [f"{wheel}[onnx]", str(ROOT / "constraints.txt"), str(out), "torch"]
    subprocess.run(command, check=True, timeout=900)
    return out


def without(*places: str) -> list[str]:
    """The beginning of a command that does not find these folders."""
    hidden = "; ".join(f"mount -t tmpfs none '{place}' && ! ls '{place}'/*" for place in places)
    run = f'{{ {hidden}; }} 2>/dev/null; exec "$@"'
    command = ["unshare", "-rm", "bash", "-c", run, "without"]
    if subprocess.run([*command, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine gives no mount namespace")
    return command


def test_the_archive_scores_where_the_python_it_was_made_from_does_not_exist(
    archive: Path, model: Path, tmp_path: Path
) -> None:
    import pyarrow.parquet as pq

    moved, pixels = tmp_path / "moved", images(50)
    moved.mkdir()
    subprocess.run(["tar", "-C", str(moved), "-xzf", str(archive)], check=True)
    pq.write_table(image_table(pixels), tmp_path / "rows.parquet")
    convert(model, tmp_path / "onnx", "onnx")
    (tmp_path / "score.py").write_text(SCORED)
    words = [tmp_path / "onnx", digest_of(tmp_path / "onnx"), tmp_path / "rows.parquet"]
    there = without(sys.base_prefix, sysconfig.get_paths()["purelib"])
    clean = ["env", "-i", "PATH=/usr/bin:/bin", str(moved / "bin" / "python")]

    done = subprocess.run(
        [*there, *clean, tmp_path / "score.py", *words],
        capture_output=True, text=True, check=False, cwd="/",
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["prefix"] == str(moved)
    outside = [name for name in told["mapped"] if not name.startswith(str(moved))]
    assert [name for name in outside if not Path(name).name.startswith(SYSTEM)] == []
    reference = loaded(model)
    expected = reference.predict(
        reference.decode(image_table(pixels).select(["pixels"]).to_batches()[0]).values
    )
    assert told["outputs"]["label"] == expected["label"].tolist()
    assert np.allclose(told["outputs"]["probabilities"], expected["probabilities"], atol=1e-5)


def test_a_cluster_whose_workers_have_no_python_scores_with_the_archive(
    archive: Path, package: Path, model: Path, tmp_path: Path
) -> None:
    write_parquet(tmp_path / "input", image_table(images(100)), files=2)
    convert(model, tmp_path / "onnx", "onnx")
    job = job_of(tmp_path, tmp_path / "onnx").model_dump(mode="json", exclude_unset=True)
    job["cost"]["prices"] = str(ROOT / "conf" / "prices" / "example.yaml")
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    one_core = ("--executor-memory", "640m", "--conf", "spark.executor.cores=1")
    unpacked = ("--archives", f"{archive}#environment")
    workers = (
        "--conf",
        "spark.pyspark.python=./environment/bin/python",
        "--conf",
        f"spark.pyspark.driver.python={sys.executable}",
    )

    with clusters.standalone(tmp_path, without(sys.base_prefix)) as master:
        done = submit(
            master, package, Path(sys.executable), tmp_path / "job.yaml", {},
            *one_core, *unpacked, *workers, conf="standalone",
        )  # fmt: skip

    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    summary = json.loads(done.stdout.splitlines()[-1])
    assert (summary["scored"], summary["backend"]) == (100, "onnxruntime")
    assert summary["books_closed"] is True
