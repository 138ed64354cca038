# `make demo` and `make test` do all the set-up on a fresh machine. Python 3.11 or later, make and git are all they need.
# The system's own where it will do: distributions build it with profile-guided optimisation, which makes everything a third faster than a
# plain build from source, and every account can read it.
PYTHON ?= $(shell for one in /usr/bin/python3 python3; do \
	$$one -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$one; exit; }; done; echo python3)
V := .venv/bin
# Programs start all the time here: without Python's cache of compiled modules each start takes twice as long.
unexport PYTHONDONTWRITEBYTECODE
.DEFAULT_GOAL := help

help: ## This list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: .venv/.installed ## The virtualenv and the pinned packages

# uv comes first, from its own lines of the lock file; it then installs the rest in seconds.
.venv/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed; this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	test -x $(V)/python || $(PYTHON) -m venv .venv
	awk '/^uv==/ {on=1} on {print} on && !/\\$$/ {exit}' requirements.lock > .venv/uv.txt
	$(V)/python -m pip install --quiet --require-hashes --disable-pip-version-check -r .venv/uv.txt
	$(V)/uv pip sync --quiet --require-hashes --compile-bytecode requirements.lock
	$(V)/uv pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

demo: setup ## The whole of it once: an office, a backup, a drill, a restore
	$(V)/officeops demo

up: setup ## Start the stack and Prefect
	$(V)/officeops up

down: setup ## Stop everything; data is kept
	$(V)/officeops down

test: setup ## Everything that the tests need, then pytest
	$(V)/pytest -n 4 --dist loadgroup $(TESTS)

screenshots: setup ## Take the pictures of docs/images anew, in a real browser
	OFFICEOPS_REQUIRE_BROWSER=1 OFFICEOPS_PICTURES=docs/images $(V)/pytest -q tests/e2e

lint: setup ## ruff, mypy --strict on officeops, the import contract
	$(V)/ruff check .
	$(V)/ruff format --check .
	$(V)/mypy
	$(V)/lint-imports

shell-db: setup ## psql in the application's database
	@$(V)/officeops shell-db

ui: setup ## Where the Prefect UI is, and how to log in
	@$(V)/officeops ui

bench: setup ## Measure: backup and restore against what they replace
	$(V)/python benchmarks/backup.py

COMPILE := $(V)/uv pip compile --quiet --generate-hashes --no-emit-index-url --python-version 3.11 pyproject.toml

lock: setup ## Renew the lock files within the ranges of pyproject.toml (UPGRADE=--upgrade: to the newest)
	$(COMPILE) $(UPGRADE) --extra embedded --extra dev -o requirements.lock
	$(COMPILE) --constraint requirements.lock --no-annotate -o deployments/requirements.lock # the worker's: a part of the first

.PHONY: help setup demo up down test screenshots lint shell-db ui bench lock
