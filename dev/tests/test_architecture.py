"""The parts of the project import only what they may. Parts that were deleted are skipped."""

import ast
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import PROJECT

EVERYTHING = ("airflow", "include", "plugins", "dags", "scripts", "tests", "dev", "local_dbt_cloud")


@dataclass(frozen=True)
class Part:
    """A directory, and which of this project's packages and Airflow its modules may import."""

    directory: str
    allowed: tuple[str, ...]
    # Subdirectories that are other parts.
    excluded: tuple[str, ...] = ()

    def modules(self) -> list[Path]:
        """Return its Python files; skip the test if the part was deleted."""
        root = PROJECT / self.directory
        if not root.is_dir():
            pytest.skip(f"{self.directory} was deleted")
        excluded = [PROJECT / directory for directory in self.excluded]
        return [path for path in sorted(root.rglob("*.py")) if not any(map(path.is_relative_to, excluded))]


PARTS = (
    Part("dags", ("airflow", "include")),
    Part("include", ("airflow", "include")),
    Part("plugins", ("airflow.plugins_manager", "plugins")),
    Part("tests", ("airflow", "include", "plugins", "dags", "scripts", "tests", "local_dbt_cloud.testing")),
    Part("scripts", ("scripts",), excluded=("scripts/tests",)),
    Part("scripts/tests", ("scripts", "local_dbt_cloud.testing")),
    Part("local-dbt-cloud/src", ("local_dbt_cloud",)),
    # The real clients are tested too, such as Airflow's provider.
    Part("local-dbt-cloud/tests", ("airflow", "local_dbt_cloud")),
    Part("dev", EVERYTHING, excluded=("dev/benchmark/workloads",)),
    # Other imports would add to the cost that is measured.
    Part("dev/benchmark/workloads", ("airflow", "include", "dev.benchmark.workloads")),
)


def imports(path: Path) -> set[str]:
    """Return the full names of all imports in a module, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def is_in(name: str, packages: tuple[str, ...]) -> bool:
    """Return whether a full name belongs to one of the packages."""
    return any(f"{name}.".startswith(f"{package}.") for package in packages)


def part_named(directory: str) -> Part:
    """Return the part in a directory."""
    return next(part for part in PARTS if part.directory == directory)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.directory)
def test_a_part_has_only_allowed_imports(part: Part) -> None:
    forbidden = [
        f"{path.relative_to(PROJECT)} imports {name}"
        for path in part.modules()
        for name in sorted(imports(path))
        if is_in(name, EVERYTHING) and not is_in(name, part.allowed)
    ]
    assert not forbidden


@pytest.mark.parametrize("directory", ["dags", "include", "plugins"])
def test_no_deployed_part_mentions_the_local_dbt_cloud(directory: str) -> None:
    for path in part_named(directory).modules():
        assert "local_dbt_cloud" not in path.read_text(encoding="utf-8").lower(), path


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.directory)
def test_every_module_has_a_docstring(part: Part) -> None:
    for path in part.modules():
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path


def test_both_parts_with_pages_have_the_same_browser_helper() -> None:
    # Copies may lack the local dbt Cloud, whose package must not depend on Selenium.
    helpers = (PROJECT / "tests/browser.py", PROJECT / "local-dbt-cloud/tests/browser.py")
    assert len({helper.read_text(encoding="utf-8") for helper in helpers if helper.exists()}) == 1


def test_imports_are_found_and_compared_by_full_names(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text("import airflow.models\nif 1:\n    from local_dbt_cloud import testing, database\n")
    names = imports(module)
    assert names == {"airflow.models", "local_dbt_cloud.testing", "local_dbt_cloud.database"}
    allowed = part_named("tests").allowed
    assert [name for name in names if not is_in(name, allowed)] == ["local_dbt_cloud.database"]
    assert not is_in("include_something", ("include",))
