"""Give Airflow a temporary home, and skip folders whose optional parts are not installed."""

import importlib.util
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent

# Optional parts that the tests of a folder need. The image, where `astro dev pytest` runs, has none of them.
NEEDS = {
    "integration": ("local_dbt_cloud",),
    "end_to_end": ("local_dbt_cloud", "scripts"),
}

_home = tempfile.TemporaryDirectory(prefix="dbt-cloud-starter-tests-")


def pytest_configure(config: pytest.Config) -> None:
    """Give Airflow a temporary home and trust the local dbt Cloud, before either is imported."""
    # The shell may have settings of another Airflow, or ports for `make run`.
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
    """Return the optional parts that the tests of a folder need and that are not installed."""
    return [name for name in NEEDS.get(folder, ()) if importlib.util.find_spec(name) is None]


class _Skipped(pytest.Module):
    def collect(self) -> Iterator[pytest.Item]:
        raise pytest.skip.Exception(
            f"needs {' and '.join(missing(self.path.parent.name))}, not installed here",
            allow_module_level=True,
        )


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Skip a module that needs an optional part which is not installed: its imports would fail."""
    if missing(module_path.parent.name):
        return _Skipped.from_parent(parent, path=module_path)
    return None
