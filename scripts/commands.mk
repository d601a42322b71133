# What the scripts add to the project's Makefile: the whole local stack.

# Slow ones first.
TESTS := scripts/tests $(TESTS)
TYPED += scripts
DATA += .airflow

.PHONY: run
run: $(READY) ## Start everything, run the main Dag twice, report, stop everything
	@$(BIN)/python -m scripts.run

.PHONY: start
start: $(READY) ## Start the local dbt Cloud and Airflow with its UI, until Ctrl-C
	@$(BIN)/python -m scripts.start
