"""Tests of the Airflow plugin and its pages."""
