"""Code that the Dags import."""
