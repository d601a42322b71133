"""Settings of the tests of the commands."""

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def _no_settings_of_the_shell() -> Iterator[None]:
    """Remove the shell's settings of another Airflow, or of ports for `make run`.

    For these modules only, not in ``pytest_configure``: in the same process the project's other tests set
    an AIRFLOW_HOME of their own.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("AIRFLOW", "LOCAL_DBT_CLOUD_")):
                patch.delenv(name)
        yield
