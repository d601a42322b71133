"""The lock file: pins all dependencies of pyproject.toml with hashes, and names no package registry."""

import re
import tomllib
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
LOCK = (PACKAGE / "requirements.lock").read_text()
PROJECT = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]


def pins(lock: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", lock, re.MULTILINE))


def test_it_pins_all_requirements() -> None:
    wanted = {re.match(r"[\w-]+", requirement)[0] for requirement in PROJECT["dependencies"]}
    assert wanted <= pins(LOCK).keys()


def test_it_names_no_registry_and_hashes_every_package() -> None:
    assert "://" not in LOCK
    hashed = re.findall(r"^[a-z0-9._-]+==\S+ (?:; [^\\]+ )?\\\n +--hash=sha256:", LOCK, re.MULTILINE)
    assert len(hashed) == len(re.findall(r"^\S+==", LOCK, re.MULTILINE)) > 50


def test_it_agrees_with_the_lock_file_of_the_project_around() -> None:
    around = PACKAGE.parent / "requirements-dev.lock"
    theirs = pins(around.read_text()) if around.is_file() else {}
    ours = pins(LOCK)
    assert {name: ours[name] for name in ours.keys() & theirs} == {
        name: theirs[name] for name in ours.keys() & theirs
    }
