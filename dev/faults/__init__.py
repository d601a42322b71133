"""Inject faults into a real Airflow and compare this project's operator with the stock provider's."""
