"""deploy/Dockerfile and what it starts: read here, and held against the project. No image is built."""

from __future__ import annotations

import fnmatch
import os
import re
import subprocess
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pyspark
import pytest

from millrace.pipelines.spark.session_settings import JARS
from tests.conf.test_conf import spark_settings
from tests.deploy.manifests import ROOT, read

DOCKERFILE = ROOT / "deploy" / "Dockerfile"
ENTRYPOINT = ROOT / "deploy" / "entrypoint.sh"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
CONF = dict(spark_settings(ROOT / "conf" / "spark" / "kubernetes.conf"))
HOME = "/opt/millrace"
Start = Callable[..., subprocess.CompletedProcess[str]]


class Step(NamedTuple):
    stage: str
    word: str
    text: str


def steps() -> list[Step]:
    """The instructions, each with its stage, comments and line ends gone."""
    lines = DOCKERFILE.read_text("utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    found: list[Step] = []
    stage = ""
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            stage = rest.rpartition(" AS ")[2]
        if word:
            found.append(Step(stage, word, re.sub(r"\s+", " ", rest)))
    return found


STEPS = steps()


def texts(word: str, stage: str | None = None) -> list[str]:
    return [one.text for one in STEPS if one.word == word and stage in (None, one.stage)]


def copied() -> list[str]:
    """What is copied from the project."""
    from_project = [text.split()[:-1] for text in texts("COPY") if not text.startswith("--from=")]
    return [path for paths in from_project for path in paths]


def test_there_are_three_stages_and_what_builds_is_not_in_the_last() -> None:
    assert texts("FROM")[1:] == ["base AS build", "base AS millrace"]
    assert [text for text in texts("RUN", "millrace") if re.search(r"\b(pip|apt|uv)\b", text)] == []
    assert not any(re.search(r"\b(gcc|build-essential|jdk)\b", text) for text in texts("RUN"))


def test_what_it_begins_with_is_pinned_and_has_the_projects_python() -> None:
    image, tag = texts("FROM")[0].removesuffix(" AS base").split(":")
    assert image == "python"
    python = re.fullmatch(r"(3\.\d+)\.\d+-slim-bookworm", tag)
    assert python
    assert PROJECT["requires-python"] == f">={python[1]}"
    (home,) = re.findall(r"SPARK_HOME=(\S+)", " ".join(texts("ENV")))
    assert home == f"{HOME}/lib/python{python[1]}/site-packages/pyspark"


def test_java_is_one_that_make_setup_takes_too() -> None:
    (package,) = re.findall(r"openjdk-\d+-jre-headless", " ".join(texts("RUN")))
    assert package in (ROOT / "deploy" / "system.sh").read_text("utf-8")


def test_every_package_is_of_the_version_that_the_project_pins() -> None:
    installs = [text for text in texts("RUN") if "pip install" in text]
    assert len(installs) == 3
    assert [text for text in installs if not re.search(r" (-c|-b) constraints\.txt", text)] == []
    pinned = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    assert f"pyspark=={pyspark.__version__}" in pinned
    for name, path in (
        ("kubeflow", ["sparkVersion"]),
        ("apache", ["runtimeVersions", "sparkVersion"]),
    ):
        value = read(f"sparkapplication-{name}.yaml")["spec"]
        for key in path:
            value = value[key]
        assert value == pyspark.__version__


def test_it_runs_as_the_user_that_the_pods_name_and_that_is_not_root() -> None:
    context = read("pod.yaml")["spec"]["securityContext"]
    assert texts("USER", "millrace") == [f"{context['runAsUser']}:{context['runAsGroup']}"]
    (made,) = [text for text in texts("RUN", "base") if "useradd" in text]
    assert f"useradd --uid {context['runAsUser']} --gid {context['runAsGroup']}" in made


def test_folders_that_volumes_are_mounted_over_are_the_users() -> None:
    (made,) = [text for text in texts("RUN", "millrace") if "install -d" in text]
    owned = made.removeprefix("install -d -o millrace -g millrace ").split()
    mounts = {value for key, value in CONF.items() if key.endswith(".mount.path")}
    assert {*mounts, *texts("WORKDIR", "millrace")} == set(owned)


def test_nothing_is_fetched_but_by_package_managers_and_the_session_itself() -> None:
    assert texts("ADD") == []
    assert not re.search(r"\b(curl|wget)\b|://", " ".join(one.text for one in STEPS))


def test_deltas_jars_are_made_by_the_session_for_the_user_and_lie_where_the_settings_say() -> None:
    words = [(one.word, one.text) for one in STEPS if one.stage == "build"]
    at = words.index(("RUN", "cd /tmp && python -m millrace.pipelines.spark.session"))
    assert words[at - 1] == ("USER", "millrace")
    link = words[at + 2][1]
    assert link.startswith("ln -s /home/millrace/.ivy2*/jars jars ")
    (named,) = re.findall(r"jars/(io\.\S+\*\.jar)", link)
    assert [jar for jar in JARS if fnmatch.fnmatch(jar, named)]
    assert words[at + 1] == ("USER", "root")
    for role in ("driver", "executor"):
        assert CONF[f"spark.{role}.extraClassPath"] == f"{HOME}/jars/*"
    assert not [key for key in CONF if key.startswith("spark.jars")]


def test_what_the_image_takes_from_the_project_is_there_and_let_through() -> None:
    rules = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    rules = [rule for rule in rules if rule and not rule.startswith("#")]
    assert rules[0] == "*"
    assert sorted(copied()) == sorted(rule[1:] for rule in rules if rule.startswith("!"))
    assert [path for path in copied() if not (ROOT / path).exists()] == []


def test_every_path_in_the_image_that_the_settings_name_is_one_that_it_has() -> None:
    kubernetes = ROOT / "deploy" / "kubernetes"
    told = "\n".join(path.read_text("utf-8") for path in kubernetes.glob("*.yaml"))
    named = set(re.findall(rf"{HOME}/([\w./-]+)", told)) - {"jars/", "bin/python"}
    assert named == {"pipelines/score.py", "deploy/gpus.sh"}
    for path in named:
        assert (ROOT / path).is_file()
        assert path in copied() or path.split("/", 1)[0] in copied()


def test_a_variant_is_cpu_or_cuda_and_each_extra_is_the_projects() -> None:
    (install,) = [text for text in texts("RUN") if "$VARIANT" in text]
    assert re.findall(r"(\S+)\) ", install)[:3] == ["cpu", "cuda", "*"]
    assert "exit 2" in install
    defaults = dict(text.split("=") for text in texts("ARG"))
    assert defaults["VARIANT"] == "cpu"
    extras = {*defaults["EXTRAS"].split(","), *re.findall(r"\$EXTRAS,(\w+)", install), "demo"}
    assert extras <= PROJECT["optional-dependencies"].keys()


# What Spark asks of an image, from its own classes.
KUBERNETES = zipfile.ZipFile(
    Path(pyspark.__file__).parent / "jars" / f"spark-kubernetes_2.13-{pyspark.__version__}.jar"
)
BACKEND = "org/apache/spark/scheduler/cluster/k8s/KubernetesExecutorBackend"


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Starts the entry point where `java` and `spark-submit` are scripts that tell their arguments."""
    for name in ("java/bin/java", "spark/bin/spark-submit"):
        script = tmp_path / name
        script.parent.mkdir(parents=True)
        script.write_text('#!/bin/sh\nprintf \'%s\\n\' "$(basename $0)" "$@"\n')
        script.chmod(0o755)
    own = {"JAVA_HOME": str(tmp_path / "java"), "SPARK_HOME": str(tmp_path / "spark")}

    def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [ENTRYPOINT, *words],
            env={"PATH": os.environ["PATH"], **own, **environment},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    return run


def of_executor() -> dict[str, str]:
    """A value for each variable that the entry point reads, but for those that may be absent."""
    text = ENTRYPOINT.read_text("utf-8").partition("executor)")[2]
    names = set(re.findall(r'"(?:-Xm[sx])?\$(SPARK_[A-Z_]+)"', text))
    return {name: f"value-of-{name}" for name in names}


def test_an_executor_starts_as_sparks_own_backend_wants_it(start: Start) -> None:
    options = {f"SPARK_JAVA_OPT_{n}": f"-Done={n} two" for n in range(12)}
    done = start("executor", **of_executor(), **options, SPARK_CLASSPATH="/opt/millrace/jars/*")
    words = done.stdout.splitlines()
    assert words[:13] == ["java", *(f"-Done={n} two" for n in range(12))]
    at = words.index(BACKEND.replace("/", "."))
    assert words[at - 1].startswith("/opt/millrace/jars/*:")
    assert words[at - 1].endswith("/jars/*")
    given = dict(zip(words[at + 1 :: 2], words[at + 2 :: 2], strict=True))
    backend = KUBERNETES.read(f"{BACKEND}$.class")
    assert given["--driver-url"] == "value-of-SPARK_DRIVER_URL"
    known = set(re.findall(rb"--[a-zA-Z-]+", backend))
    assert [option for option in given if option.encode() not in known] == []
    assert len(given) == 7


def test_every_variable_that_the_entry_point_reads_is_one_that_spark_sets() -> None:
    constants = KUBERNETES.read("org/apache/spark/deploy/k8s/Constants$.class")
    names = {*re.findall(r"\bSPARK_[A-Z_]+", ENTRYPOINT.read_text("utf-8"))} - {"SPARK_HOME"}
    assert len(names) >= 10
    known = {name.decode() for name in re.findall(rb"SPARK_[A-Z_]+", constants)}
    assert names <= known


@pytest.mark.parametrize("name", sorted(of_executor()))
def test_an_executor_does_not_start_without_what_it_has_to_know(start: Start, name: str) -> None:
    told = of_executor()
    del told[name]
    done = start("executor", **told)
    assert done.returncode != 0
    assert name in done.stderr
    assert done.stdout == ""


def test_a_driver_is_submitted_in_its_own_pod(start: Start) -> None:
    done = start("driver", "--class", "a b", SPARK_DRIVER_BIND_ADDRESS="10.0.0.7")
    assert done.stdout.splitlines() == [
        *("spark-submit", "--deploy-mode", "client"),
        *("--conf", "spark.driver.bindAddress=10.0.0.7", "--class", "a b"),
    ]


def test_any_other_command_runs_and_its_exit_code_is_the_containers(start: Start) -> None:
    done = start("sh", "-c", "echo ran; exit 3")
    assert (done.stdout, done.returncode) == ("ran\n", 3)
