"""How a dbt Cloud run can end badly, and how a request can: a class and a sentence for each."""

from airflow.providers.dbt.cloud.hooks.dbt import DbtCloudJobRunException
from airflow.sdk.exceptions import AirflowException, AirflowFailException


class DbtCloudRefused(AirflowException):
    """dbt Cloud answered, and the answer is no; ``status_code`` is that of the answer."""

    def __init__(self, sentence: str, status_code: int) -> None:
        super().__init__(sentence)
        self.status_code = status_code


class DbtCloudNoAnswer(AirflowException):
    """No answer of dbt Cloud arrived: what was asked may have been done or not."""


class DbtCloudJobRunFailed(DbtCloudJobRunException):
    """dbt failed. A retry of the task starts another run, or goes on from the point of failure."""


class DbtCloudJobRunCancelled(DbtCloudJobRunException, AirflowFailException):
    """Somebody cancelled the run in dbt Cloud: the task fails at once, for a retry would defy that person."""


class DbtCloudJobRunTimedOut(DbtCloudJobRunException):
    """The run took longer than it may."""


class DbtCloudJobRunLost(DbtCloudJobRunException):
    """dbt Cloud could not be asked about the run for too long: it may go on, and how it ends is not known."""


# By what the trigger's event says of a run: expired is its job's time limit, the next two are the task's.
RUN_ERRORS = {
    "error": DbtCloudJobRunFailed,
    "cancelled": DbtCloudJobRunCancelled,
    "expired": DbtCloudJobRunTimedOut,
    "timeout": DbtCloudJobRunTimedOut,
    "waited": DbtCloudJobRunTimedOut,
    "lost": DbtCloudJobRunLost,
}
