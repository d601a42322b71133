"""Drop-in replacements for the provider's dbt Cloud operator, sensor, trigger and hook, for Airflow 3.3."""

from airflow import __version__
from packaging.version import Version

if Version(__version__).release < (3, 3):
    raise ImportError(
        "include.dbt_cloud needs the task state store and the on_kill of triggers of Airflow 3.3 or newer; "
        f"this is Airflow {__version__}: upgrade it."
    )
