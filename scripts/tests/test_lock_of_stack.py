"""The lock that lets a second command say where the first one is."""

from pathlib import Path

import pytest

from scripts.exceptions import UserError
from scripts.lock import check_nothing_runs, locked


@pytest.mark.parametrize("home", ["airflow", "airflow/accounts/one"])
def test_a_second_command_says_where_the_first_one_is(tmp_path: Path, home: str) -> None:
    message = "make run already runs here, with Airflow at http://localhost:1: stop it with Ctrl-C first"
    with locked(tmp_path / home, "make run", "http://localhost:1"):
        with pytest.raises(UserError, match=message), locked(tmp_path / home, "make start", ""):
            pytest.fail("locked twice")
        with pytest.raises(UserError, match=message):
            check_nothing_runs(tmp_path / "airflow")
    check_nothing_runs(tmp_path / "airflow")
    with locked(tmp_path / home, "make start", "http://localhost:2"):
        pass


def test_a_folder_that_is_not_writable_is_named(tmp_path: Path) -> None:
    # A file in its place fails as missing permissions do, which do not stop root.
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=rf"Cannot write to {tmp_path}/file/airflow \("):
        with locked(tmp_path / "file" / "airflow", "make run", ""):
            pytest.fail("locked")
