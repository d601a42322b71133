"""How a request to dbt Cloud can end badly: refused, or without an answer."""

from airflow.sdk.exceptions import AirflowException


class DbtCloudRefused(AirflowException):
    """dbt Cloud answered, and the answer is no; ``status_code`` is that of the answer."""

    def __init__(self, sentence: str, status_code: int) -> None:
        super().__init__(sentence)
        self.status_code = status_code


class DbtCloudNoAnswer(AirflowException):
    """No answer of dbt Cloud arrived: what was asked may have been done or not."""
