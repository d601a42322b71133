"""Who may know whom: the arrows between the rooms."""

import ast
from pathlib import Path

import pytest

from tests.conftest import PROJECT

# For each room, the beginnings of module names that it must not import.
FORBIDDEN = {
    "dags": ("local_dbt_cloud", "scripts", "plugins", "tests"),
    "include/dbt_cloud": ("local_dbt_cloud", "scripts", "plugins", "dags", "tests"),
    "include/local_dbt_cloud": ("airflow", "include.dbt_cloud", "scripts", "plugins", "dags", "tests"),
    "plugins": ("local_dbt_cloud", "scripts", "dags", "tests"),
    "scripts": ("airflow", "include", "plugins", "dags", "tests", "dev.benchmark.workloads"),
    # A room in a room: programs that the benchmark starts, and that import what is measured in them.
    "dev/benchmark/workloads": ("local_dbt_cloud", "plugins", "dags", "tests"),
}


def modules(room: str) -> list[Path]:
    inner = [PROJECT / name for name in FORBIDDEN if name.startswith(f"{room}/")]
    return [
        path
        for path in sorted((PROJECT / room).rglob("*.py"))
        if not any(path.is_relative_to(one) for one in inner)
    ]


def imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("room", FORBIDDEN)
def test_a_room_imports_only_what_it_may_know(room: str) -> None:
    for path in modules(room):
        for name in imports(path):
            wrong = [word for word in FORBIDDEN[room] if name == word or name.startswith(word + ".")]
            assert not wrong, f"{path.relative_to(PROJECT)} imports {name}"


@pytest.mark.parametrize("room", ["dags", "include/dbt_cloud", "plugins"])
def test_what_is_deployed_does_not_know_that_a_local_dbt_cloud_exists(room: str) -> None:
    for path in modules(room):
        assert "local_dbt_cloud" not in path.read_text(encoding="utf-8").lower(), path


def test_every_module_says_its_purpose_in_its_first_line() -> None:
    for room in FORBIDDEN:
        for path in modules(room):
            assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path
