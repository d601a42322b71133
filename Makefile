# Every command sets up what it needs; see them all with `make help`.

# The first of these that is a Python this project runs on; `make PYTHON=...` names another.
PYTHON ?= $(shell sh scripts/find_python.sh)
VENV := .venv
BIN := $(VENV)/bin
# Clients of dbt Cloud that tests drive, each in an environment of its own: what they need does not go together.
CLIENTS := $(addprefix tests/local_dbt_cloud/clients/, dbtc dbt_jobs_as_code)

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: $(VENV)/ready ## Start all, run the main Dag twice, report, stop all
	@$(BIN)/python -m scripts.run

.PHONY: start
start: $(VENV)/ready ## Start the local dbt Cloud and Airflow with its UI, until Ctrl-C
	@$(BIN)/python -m scripts.start

.PHONY: local-dbt-cloud
local-dbt-cloud: $(VENV)/ready ## Start only the local dbt Cloud, until Ctrl-C
	@$(BIN)/python -m include.local_dbt_cloud

.PHONY: test
test: $(VENV)/clients/ready ## Run all tests
	@# By files, the slow folders first: what a file shares, such as a whole Airflow, is started once.
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder tests .astro

.PHONY: bench
bench: $(VENV)/ready ## Measure what it costs beside what people use today, and write docs/benchmarks.md
	@$(BIN)/python -m scripts.benchmark

.PHONY: faults
faults: $(VENV)/ready ## Play every fault in a real Airflow, with this project's operator and the stock one; write docs/faults.md
	@$(BIN)/python -m tests.end_to_end.faults

.PHONY: screenshots
screenshots: $(VENV)/ready ## Take the README's pictures anew, in a real browser
	@$(BIN)/python -m scripts.screenshots

.PHONY: lint
lint: $(VENV)/ready ## Check the style of the code
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

.PHONY: lock
lock: COMPILE := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command "make lock" --quiet --upgrade
lock: $(VENV)/ready ## Resolve requirements-dev.in and what the tests' clients need anew into their lock files
	@$(COMPILE) requirements-dev.in -o requirements-dev.lock
	@# What a client's own file says goes before what the client asks for.
	@set -e; for client in $(CLIENTS); do $(COMPILE) --override $$client.in $$client.in -o $$client.lock; done

.PHONY: clean
clean: ## Remove what the commands made: the environment, Airflow's and the local dbt Cloud's data
	rm -rf $(VENV) .airflow .local_dbt_cloud .pytest_cache .ruff_cache .hypothesis

$(VENV)/ready: requirements-dev.lock scripts/set_up.sh
	@PYTHON="$(PYTHON)" sh scripts/set_up.sh $(VENV)
	@touch $@

$(VENV)/clients/ready: $(VENV)/ready $(CLIENTS:=.lock) scripts/set_up_clients.sh
	@PYTHON="$(PYTHON)" sh scripts/set_up_clients.sh $(VENV) $(CLIENTS:=.lock)
	@touch $@
