"""Random task lifecycles in simulated time, against a dbt Cloud that misbehaves in every way we know."""
