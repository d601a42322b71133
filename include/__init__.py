"""What the Dags, the plugins and the scripts of this project import."""
