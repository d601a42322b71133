"""Who may import whom: what each part of the project may know. A copy may lack some of the parts."""

import ast
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import PROJECT

EVERYTHING = ("airflow", "include", "plugins", "dags", "scripts", "tests", "dev", "local_dbt_cloud")


@dataclass(frozen=True)
class Part:
    """A directory and the modules of this project, or Airflow, that its modules may import."""

    directory: str
    allowed: tuple[str, ...]
    # Directories inside it that are parts themselves.
    without: tuple[str, ...] = ()

    def modules(self) -> list[Path]:
        """Return its Python files; skip the test if a copy lacks this part."""
        root = PROJECT / self.directory
        if not root.is_dir():
            pytest.skip(f"{self.directory} is not here")
        inner = [PROJECT / directory for directory in self.without]
        return [path for path in sorted(root.rglob("*.py")) if not any(map(path.is_relative_to, inner))]


PARTS = (
    Part("dags", ("airflow", "include")),
    Part("include", ("airflow", "include")),
    Part("plugins", ("airflow", "plugins")),
    Part("tests", ("airflow", "include", "plugins", "dags", "scripts", "tests", "local_dbt_cloud.testing")),
    Part("scripts", ("scripts",), without=("scripts/tests",)),
    Part("scripts/tests", ("scripts", "local_dbt_cloud.testing")),
    Part("local-dbt-cloud/src", ("local_dbt_cloud",)),
    # Among them tests of the real clients, Airflow's provider for one.
    Part("local-dbt-cloud/tests", ("airflow", "local_dbt_cloud")),
    Part("dev", EVERYTHING, without=("dev/benchmark/workloads",)),
    # The programs whose cost is measured: nothing else may be in their processes.
    Part("dev/benchmark/workloads", ("airflow", "include", "dev.benchmark.workloads")),
)


def imports(path: Path) -> set[str]:
    """Return the full names of all that a module imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def is_in(name: str, packages: tuple[str, ...]) -> bool:
    """Return whether a module, or a name in one, belongs to one of the packages."""
    return any(f"{name}.".startswith(f"{package}.") for package in packages)


def part_named(directory: str) -> Part:
    """Return the part in a directory."""
    return next(part for part in PARTS if part.directory == directory)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.directory)
def test_a_part_imports_only_what_it_may(part: Part) -> None:
    wrong = [
        f"{path.relative_to(PROJECT)} imports {name}"
        for path in part.modules()
        for name in sorted(imports(path))
        if is_in(name, EVERYTHING) and not is_in(name, part.allowed)
    ]
    assert not wrong


@pytest.mark.parametrize("directory", ["dags", "include", "plugins"])
def test_no_deployed_part_mentions_the_local_dbt_cloud(directory: str) -> None:
    for path in part_named(directory).modules():
        assert "local_dbt_cloud" not in path.read_text(encoding="utf-8").lower(), path


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.directory)
def test_every_module_states_its_purpose_in_its_first_line(part: Part) -> None:
    for path in part.modules():
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path


def test_what_is_imported_is_found_and_compared_by_whole_names(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text("import airflow.models\nif 1:\n    from local_dbt_cloud import testing, database\n")
    names = imports(module)
    assert names == {"airflow.models", "local_dbt_cloud.testing", "local_dbt_cloud.database"}
    allowed = part_named("tests").allowed
    assert [name for name in names if not is_in(name, allowed)] == ["local_dbt_cloud.database"]
    assert not is_in("include_something", ("include",))
