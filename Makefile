# Everything there is to do, one line each: `make` prints it.
.DEFAULT_GOAL := help
SHELL := /bin/bash

VENV   := .venv
PYTHON := $(VENV)/bin/python
UV     := $(VENV)/bin/uv
BASE   ?= python3

.PHONY: help
help:  ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | awk -F'\t' '{printf "  make %-12s %s\n", $$1, $$2}'

$(VENV)/.done: pyproject.toml constraints.txt
	@$(BASE) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Millrace needs Python 3.11 or later; try: make BASE=python3.11 $(MAKECMDGOALS)"; exit 2; }
	@bash deploy/system.sh venv $(BASE)
	@test -x $(PYTHON) || $(BASE) -m venv $(VENV)
	@echo "setting up $(VENV): minutes the first time, since torch alone is two gigabytes"
	@test -x $(UV) || $(PYTHON) -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
	@$(UV) pip install --quiet --compile-bytecode --python $(PYTHON) -c constraints.txt -e '.[demo,dev]'
	@touch $@

.PHONY: java
java:
	@bash deploy/system.sh java

$(VENV)/.jars: $(VENV)/.done pipelines/spark/session.py pipelines/spark/session_settings.py pipelines/spark/class_data_sharing.py
	@echo "fetching Delta's JARs, and archiving the JVM's classes: once"
	@$(PYTHON) -m millrace.pipelines.spark.session
	@touch $@

.PHONY: setup
setup: $(VENV)/.done java $(VENV)/.jars  ## the environment, Java and Delta's JARs; seconds when they are there

.PHONY: place
# Java is for Spark alone, which runs what the embedded engine cannot, and everything where that has no private network.
place: $(VENV)/.done
	@$(PYTHON) -I -S udfs/worker/private_network.py 2>/dev/null || $(MAKE) --no-print-directory setup

.PHONY: demo
demo: place  ## train a model, score real digits, show what it cost
	@$(VENV)/bin/millrace demo digits

.PHONY: demo-docs
demo-docs: place  ## embed Python's documentation, then ask it a question
	@$(VENV)/bin/millrace demo docs --ask "how do I read a file line by line"

.PHONY: test
test: setup  ## every test but those that are slow, and those of faults
	$(PYTHON) -m pytest -m "not faults and not slow and not long" -n 2 --dist loadfile

.PHONY: slow
slow: setup  ## tests that take longer than ten seconds each: whole programs, whole demonstrations
	$(PYTHON) -m pytest -m "slow and not faults and not long" -n 2 --dist loadfile

.PHONY: airflow
airflow: $(VENV)/.done  ## Airflow in an environment of its own, build/airflow: for its tests, and to try it
	@bash deploy/airflow/environment.sh $(PYTHON)

.PHONY: faults
faults: setup airflow  ## drivers, executors and disks that fail, each in processes of their own
	$(PYTHON) -m pytest -m faults -n 2 --dist loadfile

.PHONY: long
long: setup airflow  ## twenty budgets, a scheduler that is killed, an environment archive: an hour
	$(PYTHON) -m pytest -m long

.PHONY: test-docs
test-docs: setup airflow  ## the commands of every page, run as the page says, in each place that can be had here
	$(PYTHON) -m pytest tests/docs tests/submit tests/scheduled tests/pipelines/spark/test_connect.py -m "not long"

.PHONY: chaos
chaos: setup  ## runs under random faults, SECONDS=1200 of them; what must hold is checked after each
	$(PYTHON) -m tests.chaos.campaign --seconds $(or $(SECONDS),1200) --seed $(or $(SEED),1)

.PHONY: check
check: $(VENV)/.done docs  ## lint, types, import contracts and the documentation's links
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

.PHONY: docs
docs: $(VENV)/.done  ## the documentation site, build/site: fails on broken links
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --quiet --strict

.PHONY: reference
reference: setup  ## docs/REFERENCE.md anew, from the code
	$(PYTHON) -m tests.docs.reference

PEERS := ray daft mlflow sbert

# Peers need other versions than Millrace, so each has an environment of its own. uv links files from its
# cache instead of copying them: torch is there already, and takes no second download and no second place.
build/bench/envs/%/.done: benches/peers/%.txt | $(VENV)/.done
	@echo "setting up $(@D)"
	@$(UV) venv --quiet --clear --python $(PYTHON) $(@D)
	@$(UV) pip install --quiet --python $(@D)/bin/python -r $<
	@touch $@

.PHONY: bench-peers
bench-peers: $(PEERS:%=build/bench/envs/%/.done)  ## environments for Ray, Daft, MLflow and sentence-transformers

.PHONY: bench
bench: setup bench-peers  ## everything measured, three rounds: hours; ROUNDS=1, and what is there is kept
	$(PYTHON) -m benches.compare --rounds $(or $(ROUNDS),3) --resume
	$(PYTHON) -m benches.scaling --rounds $(or $(ROUNDS),3) --resume
	$(PYTHON) -m benches.generation --rounds $(or $(ROUNDS),3)
	$(PYTHON) -m benches.compare --page

.PHONY: bench-gpu
bench-gpu: setup  ## what a GPU gives; ends with code 2 where there is none
	$(PYTHON) -m benches.gpu

.PHONY: dist
# Spark hands a .zip in --py-files on to its workers, but drops a .whl on the way (pyspark 4.2): a wheel
# is a zip, so the same file under that name is what to submit.
dist: $(VENV)/.done  ## a wheel, and the same as a zip for spark-submit --py-files
	@rm -rf dist
	@$(UV) build --quiet --wheel --no-build-isolation --python $(PYTHON) --out-dir dist .
	@cp dist/millrace-*.whl dist/millrace.zip
	@ls dist/*

.PHONY: environment
environment: dist  ## an archive of Python, Millrace and its dependencies for spark-submit --archives; WITHOUT=torch
	@deploy/environment.sh $(PYTHON) $(UV) "$$(ls dist/millrace-*.whl)[onnx,openvino]" constraints.txt dist/environment.tar.gz $(WITHOUT)

.PHONY: clean
clean:  ## remove what was built; the environment stays
	rm -rf build dist demo-out .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
