"""An XCom backend that fails for one scenario, as an object store without a network does."""

from typing import Any

from airflow.sdk.bases.xcom import BaseXCom

from dev.faults.scenarios import XCOM_FAILS

KEYS = ("job_run_id", "job_run_url")


class FailingXCom(BaseXCom):
    """Stores XComs in Airflow's database, except those that a run of this scenario pushes after its start."""

    @staticmethod
    def serialize_value(
        value: Any, *, key: str | None = None, dag_id: str | None = None, **others: Any
    ) -> str:
        """Return a value in its stored form."""
        if key in KEYS and dag_id and dag_id.startswith(XCOM_FAILS):
            raise ConnectionError("The XCom backend did not answer.")
        return BaseXCom.serialize_value(value, key=key, dag_id=dag_id, **others)
