"""Tests that need the local dbt Cloud."""
