"""Tests of include/dbt_cloud against a local dbt Cloud."""
