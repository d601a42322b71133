"""
### Run some models of a dbt Cloud job, chosen in a form

Press Trigger: the form asks for models to build, models to leave out, a full refresh, and a schema. The job
runs with these instead of its own steps; the job itself stays as it is.

**Use it** to build a model again after a fix, to backfill one, or to try a change in a schema of your own.

**Change** the defaults in `params`, or `dbt build` to another command.
"""

from datetime import timedelta

from airflow.sdk import Param, dag
from pendulum import datetime

from include.dbt_cloud.operator import DbtCloudRunJobOperator

# dbt's selectors, separated by spaces or commas: orders+ tag:daily,+stg_* 2+path:models/marts @customers
ONE = r"(\d*\+|@)?[\w*?\[][\w.*?:/\[\]-]*(\+\d*)?"
SELECTOR = rf"^ *({ONE}([ ,]+{ONE})*)? *$"
SCHEMA = r"^$|^[A-Za-z_]\w{0,62}$"
# A test that needs a model which is not built here is left out; a name that dbt does not know is an error.
STEP = (
    "dbt build --indirect-selection buildable"
    """ --warn-error-options '{"error": ["NoNodesForSelectionCriteria"]}'"""
    "{{ ' --select ' ~ params.select if params.select }}"
    "{{ ' --exclude ' ~ params.exclude if params.exclude }}"
    "{{ ' --full-refresh' if params.full_refresh }}"
)


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1),
    catchup=False,
    params={
        "select": Param(
            "+orders", type="string", pattern=SELECTOR, description="dbt's selectors, as orders+ tag:daily"
        ),
        "exclude": Param("", type="string", pattern=SELECTOR, description="None if left empty"),
        "full_refresh": Param(False, type="boolean", description="Build incremental models anew"),
        "schema": Param("", type="string", pattern=SCHEMA, description="The environment's if left empty"),
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
        schema_override="{{ params.schema or None }}",
        deferrable=True,
        execution_timeout=timedelta(hours=2),
    )


run_selected_dbt_models()
