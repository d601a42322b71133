# Targets for maintainers of this starter.

LOCKS += dev/requirements.lock
REQUIREMENTS += dev/requirements.in
# Before the other tests: these are the slowest.
TESTS := dev/tests $(TESTS)
TYPED += dev
ENVIRONMENTS += astro_runtime

.PHONY: faults
faults: $(READY) ## Inject faults into our operator and the provider's; write docs/faults.md
	@$(BIN)/python -m dev.faults

.PHONY: chaos
chaos: $(READY) .make/environments/chaos/ready ## Kill and freeze Airflow's processes; write docs/chaos.md; CHAOS_ARGS=--help
	@$(BIN)/python -m dev.chaos $(CHAOS_ARGS)

# Clients of dbt Cloud that make bench compares; dbtc's environment is one of the local dbt Cloud's tests.
BENCH_CLIENTS := dagster prefect dbtc
.make/environments/dagster/ready .make/environments/prefect/ready: .make/environments/%/ready: dev/benchmark/requirements/%.lock $(READY)
	@$(SET_UP) $(@D) $<

.PHONY: bench
bench: $(READY) $(BENCH_CLIENTS:%=.make/environments/%/ready) .make/environments/chaos/ready ## Run the benchmarks; write docs/benchmarks.md; BENCH_ARGS=--help
	@$(BIN)/python -m dev.benchmark $(BENCH_ARGS)

.PHONY: screenshots
screenshots: $(READY) ## Take the README's pictures in a browser
	@$(BIN)/python -m dev.screenshots

# Only the packages of the Astro Runtime image, for tests of what is deployed.
.make/environments/astro_runtime/ready: dev/astro_runtime.lock $(READY)
	@$(SET_UP) $(@D) $<

# Airflow on PostgreSQL, for chaos and bench. Not in ENVIRONMENTS: no test needs it.
.make/environments/chaos/ready: dev/chaos.lock $(READY)
	@$(SET_UP) $(@D) $<

.PHONY: lock-dev
lock: lock-dev
lock-dev: lock-project
	@$(COMPILE) dev/requirements.in -c .make/constraints.txt -o dev/requirements.lock
	@$(COMPILE) dev/astro_runtime.in -c .make/constraints.txt -o dev/astro_runtime.lock
	@$(COMPILE) dev/chaos.in -o dev/chaos.lock
	@set -e; for client in dagster prefect; do \
		$(COMPILE) dev/benchmark/requirements/$$client.in -o dev/benchmark/requirements/$$client.lock; done

.PHONY: release-check
release-check: $(READY) ## Check that versions, changelog, generated docs and pinned commits agree
	@$(BIN)/python -m dev.release_check
