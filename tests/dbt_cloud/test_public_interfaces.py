"""include/dbt_cloud uses only public names of Airflow and of the provider, but for those listed here."""

import ast
import importlib
from pathlib import Path

import pytest

from tests.conftest import PROJECT

FILES = sorted((PROJECT / "include" / "dbt_cloud").glob("*.py"))
# Private names that are used: module, qualified name and the reason. None is needed at present.
PRIVATE_NAMES: tuple[tuple[str, str, str], ...] = ()
# Public, but not documented for subclasses: overridden here, or relied on.
RELIED_ON = (
    ("airflow.providers.http.hooks.http", "HttpHook.run_and_check"),
    ("airflow.providers.http.hooks.http", "HttpHook.check_response"),
    ("airflow.providers.dbt.cloud.hooks.dbt", "DbtCloudHook.get_conn"),
    ("airflow.providers.dbt.cloud.hooks.dbt", "DbtCloudHook.get_job_runs"),
    ("airflow.providers.dbt.cloud.hooks.dbt", "DbtCloudHook.trigger_job_run"),
    ("airflow.providers.dbt.cloud.hooks.dbt", "DbtCloudHook.log_job_run_failure_details"),
    ("airflow.providers.dbt.cloud.utils.openlineage", "inject_parent_job_information_into_dbt_cloud_cause"),
    ("airflow.providers.common.compat.connection", "get_async_connection"),
)


def defined_here() -> set[str]:
    """Return the private names that the package itself defines."""
    names: set[str] = set()
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                names.add(node.attr)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                names.add(node.target.id)
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_private_name_of_others_is_used(path: Path) -> None:
    ours = defined_here() | {name.rpartition(".")[2] for _, name, _ in PRIVATE_NAMES}
    tree = ast.parse(path.read_text())
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    used |= {
        part
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for part in [*(node.module or "").split("."), *(alias.name for alias in node.names)]
    }
    private = {name for name in used if name.startswith("_") and not name.endswith("__")}
    assert private - ours == set()


@pytest.mark.parametrize(("module", "name"), RELIED_ON, ids=[name for _, name in RELIED_ON])
def test_undocumented_names_that_are_relied_on_exist(module: str, name: str) -> None:
    thing = importlib.import_module(module)
    for part in name.split("."):
        assert hasattr(thing, part), f"{module}.{name} is gone in this release"
        thing = getattr(thing, part)
