"""A dbt Cloud that runs on this machine: its API over TLS, a queue, real dbt, pages. Never deployed."""
