# For maintainers of this starter.

LOCKS += dev/requirements.lock
REQUIREMENTS += dev/requirements.in
# Slow ones first.
TESTS := dev/tests $(TESTS)
TYPED += dev
ENVIRONMENTS += astro_runtime

.PHONY: faults
faults: $(READY) ## Inject all faults, ours beside the provider; write docs/faults.md
	@$(BIN)/python -m dev.faults

.PHONY: bench
bench: $(READY) ## Run the benchmarks and write docs/benchmarks.md
	@$(BIN)/python -m dev.benchmark

.PHONY: screenshots
screenshots: $(READY) ## Take the README's pictures in a real browser
	@$(BIN)/python -m dev.screenshots

# What Astro Runtime has installed, and nothing else: the deployed part's tests run there.
.make/environments/astro_runtime/ready: dev/astro_runtime.lock $(READY)
	@$(SET_UP) $(@D) $<

.PHONY: lock-dev
lock: lock-dev
lock-dev: lock-project
	@$(COMPILE) dev/requirements.in -c .make/constraints.txt -o dev/requirements.lock
	@$(COMPILE) dev/astro_runtime.in -c .make/constraints.txt -o dev/astro_runtime.lock
