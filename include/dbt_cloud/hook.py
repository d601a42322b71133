"""The provider's hook, and the question that the provider cannot answer cheaply: is this job running?"""

from typing import Any

from airflow.providers.dbt.cloud.hooks.dbt import DbtCloudHook as ProviderHook
from airflow.providers.dbt.cloud.hooks.dbt import DbtCloudJobRunStatus
from airflow.sdk.exceptions import AirflowException

ACTIVE = list(DbtCloudJobRunStatus.NON_TERMINAL_STATUSES.value)


class DbtCloudHook(ProviderHook):
    """Interact with dbt Cloud: the provider's hook, with the same arguments."""

    def check_job_is_not_running(self, job_id: int | str, account_id: int | None = None) -> bool:
        """Return whether no run of the job is active; if one is, log which, since when and where to see it.

        A job that never ran is not running. Takes and raises what ``get_active_job_run`` does.
        """
        run = self.get_active_job_run(job_id, account_id)
        if run is None:
            self.log.info("Job %s has no active run.", job_id)
            return True
        self.log.info(
            "Job %s has an active run: run %s, %s, created %s. See it at %s",
            job_id,
            run["id"],
            run["status_humanized"].lower(),
            run["created_at"],
            run["href"],
        )
        return False

    def get_active_job_run(self, job_id: int | str, account_id: int | None = None) -> dict[str, Any] | None:
        """Return the job's newest run that is queued, starting or running; None if there is none.

        One request for one run, however long the job's history is.

        :param job_id: The ID of a dbt Cloud job, as a number or, as templates render it, in digits.
        :param account_id: Optional. The ID of a dbt Cloud account, by default the connection's.
        :return: The run as dbt Cloud's API writes it: ``id``, ``status``, ``created_at``, ``href``...
        :raises AirflowException: The job id is not a number, dbt Cloud refused, or its answer makes no sense.
        """
        if not str(job_id).isdecimal():
            raise AirflowException(
                f"The dbt Cloud job id is {job_id!r}, which is not a number: "
                "take it from the job's address in dbt Cloud, .../jobs/<number>."
            )
        response = self.get_job_runs(
            account_id=account_id,
            payload={
                "job_definition_id": job_id,
                "status__in": str(ACTIVE),
                "order_by": "-id",
                "limit": 1,
            },
        )
        try:
            runs = response.json()["data"]
            # A proxy or another service can answer too: what it says must not pass for "no run is active".
            if not isinstance(runs, list) or any(run["status"] not in ACTIVE for run in runs):
                raise ValueError
            return runs[0] if runs else None
        except (ValueError, KeyError, TypeError) as error:
            raise AirflowException(
                f"Asked for the active runs of job {job_id}, dbt Cloud answered something else: "
                f"{response.text[:200]!r}. Check the host of connection {self.dbt_cloud_conn_id!r}."
            ) from error
