# Everything starts here: `make demo` scores the bundled video, `make test` runs the tests. Both set up .venv themselves.
PYTHON ?= python3.11
BIN := .venv/bin

# Two files of tests at a time on two cores.
SPREAD := --numprocesses auto --maxprocesses 4 --dist loadfile

.PHONY: demo test slow bench gpu fuzz screenshots lint clean

demo: .venv/installed
	HF_HUB_OFFLINE=1 $(BIN)/mlavl score weights/demo.mp4

test: .venv/installed-test
	$(BIN)/python -m pytest $(SPREAD) -m "not slow"

slow: .venv/installed-test
	$(BIN)/python -m pytest $(SPREAD) -m "slow and not benchmark"

bench: .venv/installed-test
	$(BIN)/python -m pytest -m benchmark -s

# On the sources as they lie, by whatever Python has torch for the GPU, whatever its libraries warn of: make gpu PYTHON=python3
gpu:
	PYTHONPATH=.:tests $(PYTHON) -m pytest tests/gpu -s -q -W default

MINUTES ?= 60

fuzz: .venv/installed-test
	PYTHONPATH=tests $(BIN)/python -m fuzz --minutes $(MINUTES)

# The pictures of the pages in the README and in docs/.
screenshots: .venv/installed-test
	PYTHONPATH=tests $(BIN)/python tests/screenshots.py

lint: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@if [ -x $(BIN)/hadolint ]; then $(BIN)/hadolint .ci/Containerfile; fi

# The package is installed as a user gets it, weights and all; a changed source installs it again.
SOURCES := pyproject.toml $(shell find mlavl_cli weights -type f -not -name '*.pyc' 2>/dev/null)

.venv/bin/python:
	$(PYTHON) -m venv .venv || python3 -m venv .venv

.venv/installed: .venv/bin/python $(SOURCES)
	$(BIN)/python -m pip install --quiet .
	@touch $@

.venv/installed-test: .venv/installed
	$(BIN)/python -m pip install --quiet '.[dev]'
	@touch $@

clean:
	rm -rf .venv build dist
