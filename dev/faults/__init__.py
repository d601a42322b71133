"""The fault matrix: what a task makes of each fault, in a real Airflow, ours beside the stock provider's."""
