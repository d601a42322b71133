"""All files pin the same versions."""

import re

import pytest

from tests.conftest import PROJECT

LOCK = PROJECT / "requirements-dev.lock"

if not LOCK.is_file():
    pytest.skip("the image has no lock file", allow_module_level=True)


def locked(package: str) -> str:
    (version,) = re.findall(rf"^{package}==(\S+)", LOCK.read_text(), re.MULTILINE)
    return version


def test_the_lock_names_no_registry() -> None:
    assert "://" not in LOCK.read_text()


def test_every_locked_package_has_hashes() -> None:
    pins = re.findall(r"^[a-z0-9-]+==\S+ (?:; [^\\]+ )?\\\n +--hash=sha256:", LOCK.read_text(), re.MULTILINE)
    assert len(pins) == len(re.findall(r"^\S+==", LOCK.read_text(), re.MULTILINE)) > 100


def test_lock_file_and_image_have_the_same_provider() -> None:
    pins = re.findall(r"^(\S+)==(\S+)", (PROJECT / "requirements.txt").read_text(), re.MULTILINE)
    assert pins
    assert pins == [(package, locked(package)) for package, _ in pins]


def test_lock_file_and_image_have_the_same_airflow() -> None:
    runtime = re.search(r"runtime:(\d+\.\d+)-", (PROJECT / "Dockerfile").read_text())
    assert runtime
    assert locked("apache-airflow").startswith(runtime[1] + ".")
