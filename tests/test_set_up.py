"""The script that creates the environment of `make` says in one sentence what is wrong."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT

SCRIPT = PROJECT / ".make/set_up.sh"

if not SCRIPT.is_file():
    pytest.skip("the image has no commands", allow_module_level=True)


needs_supported_python = pytest.mark.skipif(
    sys.version_info >= (3, 14), reason="the script rejects this Python"
)


def set_up(directory: Path, venv: str, **variables: str) -> str:
    """Run the script, which must fail; return the last line that it prints."""
    (directory / "lock").write_text("no-such-package==1 --hash=sha256:" + "0" * 64)
    process = subprocess.run(
        ["sh", SCRIPT, venv, "lock"], cwd=directory, env=os.environ | variables,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 1, process.stderr
    return process.stderr.splitlines()[-1]


def test_a_missing_python_is_an_error(tmp_path: Path) -> None:
    assert set_up(tmp_path, "make/venv", PYTHON="").startswith("Python 3.11, 3.12 or 3.13 was not found")


def test_a_python_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    message = set_up(tmp_path, "make/venv", PYTHON="/no/such/python")
    assert message.startswith("/no/such/python is not Python 3.11, 3.12 or 3.13")
    assert not (tmp_path / "make").exists()


@needs_supported_python
def test_a_folder_that_is_not_writable_is_an_error(tmp_path: Path) -> None:
    # A file in its place fails as missing permissions do, which do not stop root.
    (tmp_path / "make").touch()
    message = set_up(tmp_path, "make/venv", PYTHON=sys.executable)
    assert message.startswith(f"Cannot write to {tmp_path}/make: ")


@needs_supported_python
def test_a_missing_network_is_an_error(tmp_path: Path) -> None:
    index = "http://127.0.0.1:1/simple"
    message = set_up(
        tmp_path, "make/venv", PYTHON=sys.executable, UV_DEFAULT_INDEX=index, UV_HTTP_RETRIES="0",
        PIP_INDEX_URL=index, PIP_RETRIES="0", PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    )  # fmt: skip
    assert message.startswith("The packages were not installed; the reason is above.")
    assert not (tmp_path / "make/venv/ready").exists()


@pytest.mark.parametrize("was_moved", [False, True])
def test_a_moved_project_creates_its_environments_again(tmp_path: Path, was_moved: bool) -> None:
    (tmp_path / "Makefile").write_text((PROJECT / "Makefile").read_text())
    made = [tmp_path / ".make" / name / "ready" for name in ("venv", "environments/a", "environments/b")]
    for ready in made:
        ready.parent.mkdir(parents=True)
        ready.write_text("/elsewhere\n" if was_moved else f"{tmp_path}\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    subprocess.run(["make", "help"], cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert [ready.exists() for ready in made] == [not was_moved] * 3
