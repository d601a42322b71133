"""The provider's dbt Cloud operator, sensor, trigger and hook, made durable. Needs Airflow 3.3 or newer."""

from airflow import __version__
from packaging.version import Version

if Version(__version__).release < (3, 3):
    raise ImportError(
        f"include.dbt_cloud needs Airflow 3.3 or newer, for its task state store and its triggers' on_kill; "
        f"this is Airflow {__version__}."
    )
