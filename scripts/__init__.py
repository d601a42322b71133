"""The commands `make run` and `make start`, which run Airflow and the local dbt Cloud on this machine."""
