# Two commands: `make run` starts the application, `make test` runs every check. Each sets itself up from a bare Python 3.11+.
# Options go through ARGS:  make run ARGS="--port 8199"     make test ARGS="tests/graph -x"
# Another interpreter:      make run PYTHON=/opt/python3.12/bin/python3

ifeq ($(OS),Windows_NT)
  VENV_PYTHON := .venv/Scripts/python.exe
  CANDIDATES  := py python
else
  VENV_PYTHON := .venv/bin/python
  CANDIDATES  := python3.11 python3.12 python3.13 python3 python
  # The full run only: a process for each core, to which whole files are given, so that what a file starts is started once.
  PARALLEL    := -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder
endif
PYTHON ?= $(shell for p in $(CANDIDATES); do if $$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then echo $$p; break; fi; done)

.PHONY: help run test check check-web install install-dev lint types bench train clean

help:
	@echo "make run     start the application        (ARGS=\"--port 8199\" passes flags on)"
	@echo "make test    run all checks and tests     (ARGS=\"tests/graph -x\" narrows them)"
	@echo "make check   lint and types only"
	@echo "make check-web   types and tests of the editor; needs Node.js 20"
	@echo "make bench   measure, print the table of docs/performance.md"
	@echo "make train   train the tiny model that ships again (hours)"
	@echo "make clean   remove caches"

run: install
	@$(VENV_PYTHON) main.py serve $(ARGS)

test: install-test lint types
	@OMP_NUM_THREADS=1 $(VENV_PYTHON) -m pytest $(or $(ARGS),$(PARALLEL))

check: install-dev lint types

lint: install-dev
	@$(VENV_PYTHON) -m ruff check .

types: install-dev
	@$(VENV_PYTHON) -m mypy

check-web:
	@test -d node_modules/axe-core -a -x node_modules/.bin/tsc || npm install --no-save --no-package-lock --no-audit --no-fund
	@npm run --silent check
	@npm run --silent test

bench: install-dev
	@$(VENV_PYTHON) -m benchmarks.run $(ARGS)

train: install-dev
	@$(VENV_PYTHON) -m tools.train_tiny $(ARGS)

install: python
	@$(PYTHON) tools/install.py

install-dev: python
	@$(PYTHON) tools/install.py --dev

.PHONY: install-test python
install-test: python
	@$(PYTHON) tools/install.py --dev --browser

python:
	@if [ -z "$(PYTHON)" ]; then echo "Python 3.11 or newer (with venv) was not found. Install it, or name it: make run PYTHON=/path/to/python3"; exit 1; fi

clean:
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -path ./.venv -prune -o -name __pycache__ -type d -print | xargs rm -rf
