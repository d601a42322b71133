"""What all tests share: where Airflow lives while tests run, and what is left out where."""

import importlib.util
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).parent.parent

# Rooms of the tests and what they need beside Airflow. `astro dev pytest` runs in the image that is deployed:
# it has no dbt, no local dbt Cloud and none of the commands.
NEEDS = {
    "local_dbt_cloud": ("include.local_dbt_cloud", "trustme", "dbt"),
    "dbt_cloud": ("include.local_dbt_cloud", "trustme"),
    "scripts": ("scripts", "rich"),
    "end_to_end": ("scripts", "include.local_dbt_cloud", "rich", "trustme", "dbt"),
}

_home = tempfile.TemporaryDirectory(prefix="dbt-cloud-starter-tests-")
TEST_HOME = Path(_home.name)


def pytest_configure() -> None:
    """Give Airflow and the certificates a home before Airflow and aiohttp are imported: they read it then."""
    # What the shell says of another Airflow, or of ports for `make run`, is not for the tests.
    for name in list(os.environ):
        if name.startswith(("AIRFLOW", "LOCAL_DBT_CLOUD_")):
            del os.environ[name]
    os.environ["AIRFLOW_HOME"] = str(TEST_HOME / "airflow")
    os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(PROJECT / "dags")
    os.environ["AIRFLOW__CORE__PLUGINS_FOLDER"] = str(PROJECT / "plugins")
    os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
    os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{TEST_HOME}/airflow.db"
    if not missing("local_dbt_cloud"):
        from include.local_dbt_cloud.certificates import prepare_certificates
        from include.local_dbt_cloud.files import DataDirectory

        data = DataDirectory(TEST_HOME / "certificates")
        data.root.mkdir()
        prepare_certificates(data)
        # Without the public authorities, which take longer to read than many a test to run.
        os.environ["REQUESTS_CA_BUNDLE"] = os.environ["SSL_CERT_FILE"] = str(data.root / "ca.pem")


@pytest.fixture(scope="session")
def shared_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A local dbt Cloud with the account that the project brings: to start one takes longer than a test."""
    from tests.running_cloud import running_cloud

    with running_cloud(tmp_path_factory.mktemp("cloud") / "data") as cloud:
        yield cloud


def missing(room: str) -> list[str]:
    """Return what a room of tests needs and this Python has not."""
    return [name for name in NEEDS.get(room, ()) if not _is_here(name)]


def _is_here(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


class _LeftOut(pytest.Module):
    def collect(self) -> Iterator[pytest.Item]:
        raise pytest.skip.Exception(
            f"needs {', '.join(missing(self.path.parent.name))}, which is not installed here",
            allow_module_level=True,
        )


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Skip a module whose room needs what is not here."""
    if missing(module_path.parent.name):
        return _LeftOut.from_parent(parent, path=module_path)
    return None
