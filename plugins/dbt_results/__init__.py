"""The tab "dbt results" in Airflow's UI: the results of a task's dbt Cloud run, node by node."""
