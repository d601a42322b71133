"""Imports every Dag file; `astro dev parse` and every `astro deploy` run this.

The Astro CLI's own copy calls DagBag in a way that Airflow 3.3 no longer has, so this project brings one that
works. There are no connections and variables here: a Dag file that reads one at its top level fails, as it
should, since it would ask for it at every parse.
"""

from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag

PROJECT = Path(__file__).parent.parent
DAGS = PROJECT / "dags"
# One path a line, from the project's root: Dag files that may fail to import.
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
    # Airflow names the files from the Dags folder.
    errors = {(DAGS / name).resolve(): text for name, text in dag_bag.import_errors.items()}
    error = errors.get((PROJECT / path).resolve())
    assert error is None, f"{path} does not import:\n{error}"
