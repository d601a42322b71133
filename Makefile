# Every command installs what it needs. `make help` lists them.

# The first supported Python in the PATH. Override it with `make PYTHON=...`.
PYTHON ?= $(shell sh .make/find_python.sh)
# Not .venv, which belongs to the Astro CLI.
VENV := .make/venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
SET_UP = PYTHON="$(PYTHON)" sh .make/set_up.sh
COMPILE = $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command "make lock" --no-annotate --quiet --upgrade

# Optional parts extend these in their commands.mk.
LOCKS := requirements-dev.lock
REQUIREMENTS := requirements-dev.in
PROJECTS :=
TYPED := dags include plugins tests
TESTS := tests .astro
ENVIRONMENTS :=
DATA :=

# Create the environments again after the project was moved or copied: their programs contain its path.
ifneq ($(wildcard $(READY)),)
ifneq ($(shell cat $(READY)),$(CURDIR))
$(shell rm -f $(READY) .make/environments/*/ready)
endif
endif

.DEFAULT_GOAL := help

include $(wildcard */commands.mk .[a-z]*/commands.mk)

.PHONY: test
test: $(READY) $(ENVIRONMENTS:%=.make/environments/%/ready) ## Run all tests; PYTEST_ARGS=... goes to pytest
	@# Distributed by file, in this order: a fixture such as Airflow starts once per file. Tests wait much of their
	@# time: three processes keep two cores busy. They start hundreds of Python processes: compile each module only once.
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS) $(TESTS)

.PHONY: lint
lint: $(READY) ## Check style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy $(TYPED)

.PHONY: lock lock-project
lock: lock-project ## Resolve all requirements into the lock files
lock-project: $(READY)
	@# First all requirements together, so that the lock files of all parts agree.
	@$(COMPILE) $(REQUIREMENTS) -o .make/constraints.txt
	@$(COMPILE) requirements-dev.in -c .make/constraints.txt -o requirements-dev.lock

.PHONY: clean
clean: ## Delete environments, caches and local data
	rm -rf .make/venv .make/environments .mypy_cache .pytest_cache .ruff_cache .hypothesis $(DATA)

.PHONY: help
help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST) | sort

$(READY): $(LOCKS) .make/set_up.sh
	@$(SET_UP) $(VENV) $(LOCKS) $(PROJECTS:%=--editable %)
