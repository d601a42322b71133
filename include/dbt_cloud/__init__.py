"""The provider's dbt Cloud operator, sensor, trigger and hook, made durable."""
