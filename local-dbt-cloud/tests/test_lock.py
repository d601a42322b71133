"""The lock file: pins all dependencies of pyproject.toml with hashes, and names no package registry."""

import re
import tomllib
from pathlib import Path

from lock_files import check_hashes, pins

PACKAGE = Path(__file__).parents[1]
LOCK = (PACKAGE / "requirements.lock").read_text()
PROJECT = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]


def test_lock_pins_all_dependencies() -> None:
    wanted = {re.split(r"[^\w-]", requirement)[0] for requirement in PROJECT["dependencies"]}
    assert wanted <= pins(LOCK).keys()


def test_lock_names_no_registry_and_hashes_every_package() -> None:
    check_hashes(LOCK)
    assert len(pins(LOCK)) > 50


def test_lock_agrees_with_the_project_lock() -> None:
    project_lock = PACKAGE.parent / "requirements-dev.lock"
    theirs = pins(project_lock.read_text()) if project_lock.is_file() else {}
    ours = pins(LOCK)
    different = {name for name in ours.keys() & theirs if ours[name] != theirs[name]}
    assert different == set()
