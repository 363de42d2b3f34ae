# A fresh machine needs only Python 3.11 (or later), git and make; everything else goes into .venv.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
WORKERS ?= auto
EXAMPLE := examples/breast-cancer
DEMO := .wardline

.PHONY: run test check docs bench lock install clean help

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/'

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "error: no python3.11 found; hint: make PYTHON=/path/to/python3.11"; exit 2; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $(PYTHON) is older than 3.11"; exit 2; }
	"$(PYTHON)" -m venv $(VENV)

$(VENV)/.run: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable '.[run]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/.run

$(VENV)/.docs: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable '.[docs]'
	@touch $@

install: $(VENV)/.run  ## what `make run` needs, into .venv

run: $(VENV)/.run  ## the main job: train, attack, judge and sign the breast-cancer example
	@mkdir -p $(DEMO) && umask 077 && test -s $(DEMO)/passphrase || head -c 24 /dev/urandom | base64 > $(DEMO)/passphrase
	@test -s $(DEMO)/demo.key || $(BIN)/wardline keys new $(DEMO)/demo --passphrase-fd 3 3< $(DEMO)/passphrase
	$(BIN)/wardline run $(EXAMPLE)/policy.yaml --out runs/breast-cancer --key $(DEMO)/demo.key --passphrase-fd 3 3< $(DEMO)/passphrase
	@$(BIN)/wardline verify runs/breast-cancer/evidence --key $(DEMO)/demo.pub
	@echo "report: runs/breast-cancer/evidence/report.html"

test: $(VENV)/.dev  ## all tests
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

check: $(VENV)/.dev  ## style, types, walls between the rooms, documentation
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/check_docs.py

docs: $(VENV)/.dev $(VENV)/.docs  ## the documentation as pages, into site/
	$(BIN)/python tools/reference.py
	$(BIN)/mkdocs build --strict --quiet

bench: $(VENV)/.dev  ## the benchmarks, each against its peers in the same run
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

lock: $(BIN)/python  ## resolve all extras anew and pin them in constraints.txt
	$(BIN)/python tools/lock.py

clean:  ## remove what the other targets made
	rm -rf $(VENV) site runs $(DEMO) .mypy_cache .ruff_cache .pytest_cache .hypothesis
