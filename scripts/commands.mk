# Targets that run the whole local stack.

# Before the other tests: these are the slowest.
TESTS := scripts/tests $(TESTS)
TYPED += scripts
DATA += .airflow

.PHONY: run
run: $(READY) ## Start everything, run the main Dag twice, print the results, stop everything
	@$(BIN)/python -m scripts.run

.PHONY: start
start: $(READY) ## Start the local dbt Cloud and Airflow with its UI, until Ctrl-C
	@$(BIN)/python -m scripts.start

clean: check-nothing-runs
.PHONY: check-nothing-runs
check-nothing-runs:
	@[ ! -x $(BIN)/python ] || $(BIN)/python -m scripts.lock
