"""Kill, freeze and restart the processes of a real Airflow while it runs dbt Cloud jobs."""
