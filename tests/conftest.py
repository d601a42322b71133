"""Settings of the test run: a temporary Airflow home, and which folders need what is not installed."""

import importlib.util
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent

# Folders whose tests need an optional part: `astro dev pytest` runs in the image, which has none of them.
NEEDS = {
    "integration": ("local_dbt_cloud",),
    "end_to_end": ("local_dbt_cloud", "scripts"),
}

_home = tempfile.TemporaryDirectory(prefix="dbt-cloud-starter-tests-")


def pytest_configure(config: pytest.Config) -> None:
    """Give Airflow a temporary home and trust the local dbt Cloud, before either is imported."""
    # The shell's settings of another Airflow, or of ports for `make run`, are not for the tests.
    for name in list(os.environ):
        if name.startswith(("AIRFLOW", "LOCAL_DBT_CLOUD_")):
            del os.environ[name]
    os.environ["AIRFLOW_HOME"] = f"{_home.name}/airflow"
    os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(PROJECT / "dags")
    os.environ["AIRFLOW__CORE__PLUGINS_FOLDER"] = str(PROJECT / "plugins")
    os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
    os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{_home.name}/airflow.db"
    if config.pluginmanager.has_plugin("local_dbt_cloud"):
        from local_dbt_cloud.testing import trust_ca

        trust_ca()


def missing(folder: str) -> list[str]:
    """Return the optional parts that a folder's tests need and that are not here."""
    return [name for name in NEEDS.get(folder, ()) if importlib.util.find_spec(name) is None]


class _Skipped(pytest.Module):
    def collect(self) -> Iterator[pytest.Item]:
        raise pytest.skip.Exception(
            f"needs {' and '.join(missing(self.path.parent.name))}, not installed here",
            allow_module_level=True,
        )


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Skip a module whose folder needs a part that is not here, instead of failing at its imports."""
    if missing(module_path.parent.name):
        return _Skipped.from_parent(parent, path=module_path)
    return None
