"""A slow secrets backend, like a vault behind a slow network."""

import os
import time

from airflow.secrets import BaseSecretsBackend

from dev.faults.scenarios import SLOW_CONNECTION

# Seconds. Longer than Airflow lets a trigger run after a user has ended the task.
DELAY = 1.5


class SlowSecretsBackend(BaseSecretsBackend):
    """Has one connection, the same as ``dbt_conn`` under another name."""

    def get_conn_value(self, conn_id: str, team_name: str | None = None) -> str | None:
        """Return the connection as JSON after a while; None for any other."""
        if conn_id != SLOW_CONNECTION:
            return None
        time.sleep(DELAY)
        return os.environ["AIRFLOW_CONN_DBT_CONN"]

    def get_variable(self, key: str, team_name: str | None = None) -> str | None:
        """Return None: there are no variables."""
        return None

    def get_config(self, key: str) -> str | None:
        """Return None: there is no configuration."""
        return None
