"""Tests in a real Airflow with a real dbt."""
