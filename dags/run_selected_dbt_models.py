"""
### Run selected models of a dbt Cloud job

Press Trigger: a form asks for the models to build and to exclude, a full refresh, and a schema. The job runs
once with these values; its settings do not change.

**Use it** to rebuild a model after a fix, to backfill one, or to try a change in a separate schema.

**Change** the defaults in `params`, or `dbt build` to another command.
"""

from datetime import timedelta

from airflow.sdk import Param, dag
from pendulum import datetime

from include.dbt_cloud.operator import DbtCloudRunJobOperator
from include.dbt_cloud.params import schema_param, selectors_param

SELECTORS = "dbt selectors separated by spaces or commas, such as orders+ tag:daily"
# Skip tests whose parents are not selected; fail on unknown names.
STEP = (
    "dbt build --indirect-selection buildable"
    """ --warn-error-options '{"error": ["NoNodesForSelectionCriteria"]}'"""
    "{{ ' --select ' ~ params.select.strip() if (params.select or '').strip() }}"
    "{{ ' --exclude ' ~ params.exclude.strip() if (params.exclude or '').strip() }}"
    "{{ ' --full-refresh' if params.full_refresh }}"
)


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1),
    catchup=False,
    params={
        "select": selectors_param("+orders", f"{SELECTORS}; all models if empty"),
        "exclude": selectors_param(None, f"{SELECTORS}; nothing is excluded if empty"),
        "full_refresh": Param(False, "Rebuild incremental models from scratch", type="boolean"),
        "schema": schema_param(
            None, "Letters, digits and _; the environment's if empty. A new schema needs parents too: +model"
        ),
    },
    # An empty schema becomes None, not the text None.
    render_template_as_native_obj=True,
    default_args={"owner": "data engineering", "retries": 2, "retry_delay": timedelta(seconds=30)},
    tags=["dbt Cloud"],
    doc_md=__doc__,
)
def run_selected_dbt_models() -> None:
    DbtCloudRunJobOperator(
        task_id="run_models",
        dbt_cloud_conn_id="dbt_conn",
        job_id="{{ var.value.dbt_cloud_job_id }}",
        steps_override=[STEP],
        schema_override="{{ (params.schema or '').strip() or None }}",
        deferrable=True,
        execution_timeout=timedelta(hours=2),
    )


run_selected_dbt_models()
