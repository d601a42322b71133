"""Cancel the run of a task instance."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowTaskTimeout

from include.dbt_cloud.checkpoint import Checkpoint
from include.dbt_cloud.hook import DbtCloudHook

if TYPE_CHECKING:
    from airflow.sdk.types import Logger


@dataclass
class RunCanceler:
    """Cancels the run of a task that a user ends while a worker executes it.

    :param account_id: ID of the run's account; None for the connection's.
    :param owned_run: ID of the run that a kill may cancel: the task started it.
    """

    hook: DbtCloudHook
    account_id: int | None
    checkpoint: Checkpoint
    log: "Logger"
    owned_run: int | None = field(default=None, kw_only=True)
    # Whether the run is known to have ended.
    has_ended: bool = field(default=False, init=False)
    # Whether the process is about to be killed, and must not start a run.
    kill_pending: bool = field(default=False, init=False)

    def cancel(self, run_id: int) -> bool:
        """Cancel a run, and save that the task did so; return whether the run has ended."""
        self.checkpoint.save_canceled_run(run_id)
        try:
            self.hook.cancel_job_run(run_id, self.account_id)
        except (Exception, AirflowTaskTimeout) as error:
            self.log.warning("Could not cancel dbt Cloud run %s: %s", run_id, error)
            return False
        self.log.info("Canceled dbt Cloud run %s.", run_id)
        return True

    def cancel_owned_run(self) -> None:
        """Cancel the task's own run, if it has one, because a user ended the task."""
        run_id = self.find_owned_run()
        if run_id and self.has_ended:
            # Or the try after a clear would take the run for its own.
            self.checkpoint.save_reported_run(run_id)
        elif run_id:
            self.cancel(run_id)

    def find_owned_run(self) -> int | None:
        """Return the ID of the task's own run."""
        return self.owned_run
