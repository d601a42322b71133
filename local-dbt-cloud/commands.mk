# Targets and requirements of the local dbt Cloud, included by the project's Makefile.

LOCAL_DBT_CLOUD_REQUIREMENTS := local-dbt-cloud/pyproject.toml --extra pytest --group local-dbt-cloud/pyproject.toml:dev
LOCKS += local-dbt-cloud/requirements.lock
REQUIREMENTS += $(LOCAL_DBT_CLOUD_REQUIREMENTS)
PROJECTS += local-dbt-cloud
TESTS += local-dbt-cloud/tests
TYPED += local-dbt-cloud/src local-dbt-cloud/tests
# Checked as sources, not as the installed package.
export MYPYPATH := local-dbt-cloud/src:local-dbt-cloud/tests
DATA += .local_dbt_cloud

.PHONY: local-dbt-cloud
local-dbt-cloud: $(READY) ## Start only the local dbt Cloud, until Ctrl-C
	@$(BIN)/local-dbt-cloud

# Clients of dbt Cloud for tests, each in a separate environment because their requirements conflict.
CLIENTS := dbtc dbt_jobs_as_code
ENVIRONMENTS += $(CLIENTS)
$(CLIENTS:%=.make/environments/%/ready): .make/environments/%/ready: local-dbt-cloud/tests/clients/%.lock $(READY)
	@$(SET_UP) $(@D) $<

.PHONY: lock-local-dbt-cloud
lock: lock-local-dbt-cloud
lock-local-dbt-cloud: lock-project
	@$(COMPILE) $(LOCAL_DBT_CLOUD_REQUIREMENTS) -c .make/constraints.txt -o local-dbt-cloud/requirements.lock
	@# The .in file of a client overrides the requirements of the client.
	@set -e; for client in $(CLIENTS:%=local-dbt-cloud/tests/clients/%); do \
		$(COMPILE) --override $$client.in $$client.in -o $$client.lock; done
