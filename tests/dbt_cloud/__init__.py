"""Unit tests of include/dbt_cloud."""
