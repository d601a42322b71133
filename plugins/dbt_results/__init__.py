"""A tab in Airflow's UI that shows what dbt said of each node of a task's run."""
