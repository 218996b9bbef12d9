.DEFAULT_GOAL := help
.PHONY: help env demo test integration kills backbones engines labelling soak parity lint format types docs wheel clean

# The first Python of a supported version; name another with `make PYTHON=...`.
PYTHON ?= $(shell for p in python3.11 python3.10 python3.13 python3.12 python3; do \
  $$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1 && echo $$p && break; done)
BIN := .venv/bin
DEMO ?= demo
export TF_CPP_MIN_LOG_LEVEL ?= 3
# pip leaves bytecode to the first import. Where the environment forbids to write it, every process compiles all of TensorFlow: six seconds.
unexport PYTHONDONTWRITEBYTECODE

help: ## these lines
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 18

env: .venv/installed ## the environment in .venv/, once

# The stamp is older than setup.cfg after its requirements changed; then pip looks again.
.venv/installed: setup.cfg pyproject.toml
	@test -n "$(PYTHON)" || { echo "no Python 3.10 to 3.13 found; name one with: make PYTHON=/path/to/python3.11"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[dev]'
	@touch $@

demo: env ## synthetic images -> trained detector -> measured -> drawings -> SavedModel, in demo/
	$(BIN)/ttfnet demo $(DEMO)

# Two processes: importing and tracing take one thread each. A file stays in one of them, for its fixtures are shared.
test: lint ## lint, then every test but those of `make integration`
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"

integration: env ## the slow tests: replicas, resuming, the commands, every recipe and every published cell
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m slow

kills: env ## each command, stopped before every call that changes a file and started again; an hour, and needs a C compiler
	TTFNET_KILLS=all $(BIN)/python -m pytest -s -m slow tests/kills

backbones: env ## a run of every backbone: trained, evaluated in another process, loaded twice
	TTFNET_BACKBONES=all $(BIN)/python -m pytest -m slow tests/training/test_every_backbone.py

engines: env ## Apache Beam, Ray and Spark in an environment of their own, and every way to start workers; needs Java
	test -x .venv/engines/bin/python || $(PYTHON) -m venv .venv/engines
	.venv/engines/bin/python -m pip install --quiet --no-compile --editable '.[dev,beam,ray,spark]'
	TTFNET_LAUNCHERS=all .venv/engines/bin/python -m pytest -m slow tests/integration/test_bulk_prediction.py tests/integration/test_launchers.py

# labelme 7 has no class to write files with, and FiftyOne needs distutils, which setuptools up to 80 has.
labelling: env ## packages of labelling tools, in an environment of their own, read our files, and we theirs; Python 3.12 or 3.13
	test -x .venv/labelling/bin/python || $(PYTHON) -m venv .venv/labelling
	.venv/labelling/bin/python -m pip install --quiet --no-compile --prefer-binary --editable '.[dev]' datumaro fiftyone label-studio-sdk 'labelme<7' 'setuptools<81' supervision
	.venv/labelling/bin/python -m pytest -m slow tests/formats/test_own_packages.py

soak: kills ## `make kills`, 20,000 broken inputs of every kind, 10,000 training steps and 2,000 calls; MINUTES=20 bounds the inputs
	$(BIN)/python tests/soak/fuzz.py $(if $(MINUTES),--minutes $(MINUTES)) --keep soak-faults
	$(BIN)/python tests/soak/endurance.py

parity: env ## only the comparison with stored arrays of the official implementation
	$(BIN)/python -m pytest -n 2 --dist loadfile -m parity

lint: env types ## ruff, rules and format; and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: env ## ruff puts everything in shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: env ## mypy on the package; setup.cfg says what it leaves out
	@if $(BIN)/python -c 'import sys; sys.exit(sys.version_info >= (3, 12))'; then $(BIN)/mypy; \
	else echo "mypy: skipped on this Python; the code is checked against the types of numpy 1, on 3.10 and 3.11"; fi

docs: .venv/docs ## the documents as a site, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build
	@echo "Open site/index.html, or with search: $(BIN)/mkdocs serve"

.venv/docs: .venv/installed
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[docs]'
	@touch $@

wheel: env ## the wheel and the source archive, in dist/
	$(BIN)/python -m build --no-isolation --outdir dist

clean: ## what the above made, the environment too
	rm -rf .venv .nox $(DEMO) site build dist *.egg-info .ruff_cache .mypy_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
