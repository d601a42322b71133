"""Pages in Airflow's UI: the results of a task's dbt Cloud runs, and the history of a Dag."""
