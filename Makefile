# Every command sets up what it needs; see them all with `make help`.

# The first Python of this machine that the project runs on; `make PYTHON=...` names another.
PYTHON ?= $(shell sh .make/find_python.sh)
# An environment of make's own: `.venv` belongs to the Astro CLI.
VENV := .make/venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
SET_UP = PYTHON="$(PYTHON)" sh .make/set_up.sh
COMPILE = $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command "make lock" --no-annotate --quiet --upgrade

# Optional parts add to these in their commands.mk.
LOCKS := requirements-dev.lock
REQUIREMENTS := requirements-dev.in
PROJECTS :=
TYPED := dags include plugins
TESTS := tests .astro
ENVIRONMENTS :=
DATA :=

.DEFAULT_GOAL := help

include $(wildcard */commands.mk)

.PHONY: test
test: $(READY) $(ENVIRONMENTS:%=.make/environments/%/ready) ## Run all tests; PYTEST_ARGS=... goes to pytest
	@# By files, in this order: what a file shares, such as a whole Airflow, is started once.
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS) $(TESTS)

.PHONY: lint
lint: $(READY) ## Check style and types of the code
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy $(TYPED)

.PHONY: lock lock-project
lock: lock-project ## Resolve all requirements again, into the lock files
lock-project: $(READY)
	@# First all together: the optional parts' lock files must agree with the project's.
	@$(COMPILE) $(REQUIREMENTS) -o .make/constraints.txt
	@$(COMPILE) requirements-dev.in -c .make/constraints.txt -o requirements-dev.lock

.PHONY: clean
clean: ## Remove environments, caches, and the data of Airflow and dbt Cloud
	rm -rf .make/venv .make/environments .mypy_cache .pytest_cache .ruff_cache .hypothesis $(DATA)

.PHONY: help
help: ## Show the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST) | sort

$(READY): $(LOCKS) .make/set_up.sh
	@$(SET_UP) $(VENV) $(LOCKS) $(PROJECTS:%=--editable %)
