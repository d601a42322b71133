"""Register the tabs and their pages with Airflow."""

from airflow.plugins_manager import AirflowPlugin

from plugins.dbt_results.pages import app

PREFIX = "dbt-results"
# Relative, because Airflow may be served below a base path. The UI fills in the placeholders.
TASK = PREFIX + "/task.html?dag_id={DAG_ID}&run_id={RUN_ID}&task_id={TASK_ID}&map_index={MAP_INDEX}"
HISTORY = PREFIX + "/history.html?dag_id={DAG_ID}"


class DbtResultsPlugin(AirflowPlugin):
    """The tab "dbt results" of a task instance, and the tab "dbt history" of a Dag."""

    name = "dbt_results"
    # Airflow declares both as instance variables, and reads them from the class.
    fastapi_apps = [{"app": app, "url_prefix": f"/{PREFIX}", "name": "dbt results"}]  # noqa: RUF012
    external_views = [  # noqa: RUF012
        {
            "name": "dbt results",
            "href": TASK,
            "destination": "task_instance",
            "url_route": "dbt_results",
        },
        {
            "name": "dbt history",
            "href": HISTORY,
            "destination": "dag",
            "url_route": "dbt_history",
        },
    ]
