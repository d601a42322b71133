"""Every Dag file can be imported. `astro dev parse` and `astro deploy` run this test.

It replaces the file of the Astro CLI, which passes arguments to DagBag that Airflow 3.3 does not accept. The
test has no connections and variables: a Dag file that reads one at import time fails.
"""

from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag

PROJECT = Path(__file__).parent.parent
DAGS = PROJECT / "dags"
# Dag files that may fail to import: one path per line, relative to the project.
EXCEPTIONS = (PROJECT / ".astro" / "dag_integrity_exceptions.txt").read_text().split()


@pytest.fixture(scope="module")
def dag_bag() -> DagBag:
    return DagBag(dag_folder=DAGS)


def dag_files() -> list[str]:
    return sorted(path.relative_to(PROJECT).as_posix() for path in DAGS.rglob("*.py"))


@pytest.mark.parametrize("path", dag_files())
def test_file_imports(dag_bag: DagBag, path: str) -> None:
    if path in EXCEPTIONS:
        pytest.skip("listed in .astro/dag_integrity_exceptions.txt")
    # Airflow reports paths relative to the Dags folder.
    errors = {(DAGS / name).resolve(): text for name, text in dag_bag.import_errors.items()}
    error = errors.get((PROJECT / path).resolve())
    assert error is None, f"{path} cannot be imported:\n{error}"
