"""Kill, freeze and restart the processes of an Airflow on PostgreSQL and Celery while it runs dbt Cloud jobs."""
