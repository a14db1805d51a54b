# make demo and make test each make .venv and install by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help install test test-all lint format docs demo paper paper-all frontier shapes clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: Python 3.11 or newer is needed; say which: make PYTHON=python3.12 ..." >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $(STAMP)

install: $(STAMP) ## make .venv and install the project into it

test: $(STAMP) ## the tests, without the slow ones
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" --numprocesses auto --dist worksteal

test-all: $(STAMP) ## the tests, with the slow ones; installs Ray and the launchers for them
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev,ray,launchers]'
	$(BIN)/python -m pytest

lint: $(STAMP) ## ruff: rules and format; mypy: types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP) ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP) ## the documentation as a site, into outputs/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "open outputs/site/index.html"

demo: $(STAMP) ## collect, train and evaluate on the built-in Shapes model, into outputs/demo
	$(BIN)/python collect.py experiment=demo_collect output_dir=outputs/demo/collect
	$(BIN)/python train.py experiment=demo_train output_dir=outputs/demo/train
	$(BIN)/python evaluate.py experiment=demo_evaluate output_dir=outputs/demo/evaluate
	@echo "open outputs/demo/evaluate/report.html"

paper: $(STAMP) ## the tables that need no training, on the built-in models (under 90 minutes on 2 cores), and docs/paper.md of all that is made
	$(BIN)/python -m npnet paper all training=false page=docs/paper.md

paper-all: $(STAMP) ## and those that train their networks (hours)
	$(BIN)/python -m npnet paper all page=docs/paper.md

frontier: $(STAMP) ## the study of quality, diversity and cost, into docs/frontier.md (hours)
	$(BIN)/python -m npnet study frontier page=docs/frontier.md

shapes: $(STAMP) ## make the Shapes weights again, from their seed (under an hour on 2 cores)
	$(BIN)/npnet build-shapes

clean: ## remove outputs and caches, keep .venv
	rm -rf outputs .pytest_cache .ruff_cache
