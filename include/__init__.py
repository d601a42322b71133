"""What the Dags and the plugins import."""
