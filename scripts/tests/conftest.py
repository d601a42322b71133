"""Isolate the tests of the commands from the shell."""

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def _clean_environment() -> Iterator[None]:
    """Remove variables of another Airflow and of `make run` from the environment.

    For these modules only: other tests in the same process set their own AIRFLOW_HOME.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("AIRFLOW", "LOCAL_DBT_CLOUD_")):
                patch.delenv(name)
        yield
