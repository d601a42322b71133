"""Notify people of failed tasks and late Dag runs."""

from typing import Any
from urllib.parse import urlsplit

from airflow.providers.common.compat.connection import get_async_connection
from airflow.providers.http.notifications.http import HttpNotifier
from airflow.sdk import Connection, Context
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.sdk.log import amask_secret, mask_secret

# The exception of DbtCloudRunJobOperator has the run, its link, the first failed node and the reason.
FAILED = (
    "{{ ti.dag_id }}.{{ ti.task_id }} failed{{ ' for dbt Cloud job ' ~ task.job_id if task.job_id }}: "
    "{{ exception }} Log: {{ ti.log_url }}"
)
LATE = "{{ dag_run.dag_id }} did not finish by {{ deadline.deadline_time }}. Run: {{ dag_run.dag_run_id }}"


def secret_path(connection: Connection) -> str:
    """Return the path of a webhook's URL: whoever knows it may post, and Airflow masks only passwords."""
    return urlsplit(connection.host or "").path


class WebhookNotifier(HttpNotifier):
    """Post a text to a Slack or Teams webhook, or log it if the connection does not exist.

    To send e-mail, use ``SmtpNotifier(to=..., subject=..., html_content=FAILED)`` instead.

    :param text: What to send; templated.
    :param http_conn_id: ID of an HTTP connection whose host is the URL of the webhook. Default: dbt_alerts.
    """

    def __init__(self, text: str = FAILED, http_conn_id: str = "dbt_alerts", **kwargs: Any) -> None:
        super().__init__(http_conn_id=http_conn_id, json={"text": text}, **kwargs)

    def notify(self, context: Context) -> None:
        """Send the text from a task."""
        try:
            mask_secret(secret_path(self.hook.get_connection(self.http_conn_id)))
        except AirflowNotFoundException:
            self._log_text()
        else:
            super().notify(context)

    async def async_notify(self, context: Context) -> None:
        """Send the text from the triggerer, where the callback of a deadline runs."""
        try:
            await amask_secret(secret_path(await get_async_connection(self.http_conn_id)))
        except AirflowNotFoundException:
            self._log_text()
        else:
            await super().async_notify(context)

    def _log_text(self) -> None:
        self.log.warning("Not sent, because there is no connection %r: %s", self.http_conn_id, self.json)
