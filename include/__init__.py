"""What the Dags and the plugins import, and the local dbt Cloud with its dbt project."""
