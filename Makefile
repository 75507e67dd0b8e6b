# `make help` tells what there is. Every target works on a fresh machine with Python 3.11 or newer.
.DEFAULT_GOAL := help
.PHONY: help setup demo fuzz test quick lint types docs clean
.DELETE_ON_ERROR:
SHELL := /bin/bash

VENV := .venv
BIN := $(VENV)/bin
# The first that is there and new enough; PYTHON=... chooses another.
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3.14 python3; do \
	"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$name"; break; }; done)
# Written last, so that an interrupted set-up is done again.
STAMP := $(VENV)/.installed

help: ## show this
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

setup: $(STAMP) ## make .venv and install edgecnn with everything, as tested

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "edgecnn needs Python 3.11 or newer, and none was found: install one, or say make PYTHON=/path/to/python" >&2; exit 1; }
	@"$(PYTHON)" -c 'import venv, ensurepip, ssl' 2>/dev/null || { echo "$(PYTHON) lacks venv, ensurepip or ssl, which the set-up needs: install them (Debian: apt-get install python3-venv)" >&2; exit 1; }
	@# One that works is kept: installing again into it is quick. Half a one, or another Python's, is made anew.
	$(BIN)/python -c 'import pip, ssl' 2>/dev/null || "$(PYTHON)" -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[all,dev]'
	touch $@

demo: setup ## train, compress, export, measure and check a small CNN; names the report at the end
	$(BIN)/edgecnn demo -o demo

# Python keeps what it compiled, whatever the shell says: hundreds of programs start. `make clean` removes it.
unexport PYTHONDONTWRITEBYTECODE

# A process for each of two cores; a file's tests stay in one process, so that what they share is made once.
# Files in the order that tests/conftest.py has them in: the longest first.
AT_ONCE := -n 2 --dist loadfile --no-loadscope-reorder

test: setup ## run every test
	$(BIN)/python -m pytest $(AT_ONCE) -m "not serial"
	$(BIN)/python -m pytest -m serial

quick: setup ## run the quick tests, some of every subject: a minute
	$(BIN)/python -m pytest $(AT_ONCE) -m "not slow and not serial"

fuzz: setup ## change files and documents and read them, for MINUTES=60; failures are kept in ~/.cache/edgecnn-fuzz
	$(BIN)/python -m tests.fuzz --minutes $(or $(MINUTES),60)

lint: setup ## check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup ## check types
	$(BIN)/mypy

docs: setup ## write the API reference to site/
	$(BIN)/python docs/make_api.py site

clean: ## remove what make and the tests made
	rm -rf $(VENV) build dist demo out site .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
