# Check the workflows, too.

lint: lint-workflows
.PHONY: lint-workflows
lint-workflows: $(READY)
	@# Offline: the same findings everywhere. No Python package index has actionlint as a wheel: only if it is installed.
	@$(BIN)/zizmor --offline --quiet .github
	@! command -v actionlint >/dev/null || actionlint
