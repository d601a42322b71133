"""A dbt Cloud emulator for development and tests: API over TLS, run queue, real dbt, web pages."""
