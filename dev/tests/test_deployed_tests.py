"""The deployed part's tests pass in the image, and in a clone whose optional parts were deleted."""

import re
import shutil
import sys
from pathlib import Path

import pytest

from copying import files, lint_and_test, make_copy, run
from tests.dockerignore import is_ignored

pytestmark = pytest.mark.end_to_end

RUNTIME = Path(sys.executable).parents[2] / "environments" / "astro_runtime"


def test_the_image_of_a_copy_passes_its_tests(starter: Path, tmp_path: Path) -> None:
    """What `astro dev pytest` does: only the image's files, the Runtime's packages and requirements.txt."""
    assert (RUNTIME / "ready").is_file(), "`make test` creates this environment"
    copy = make_copy(tmp_path / "copy", starter)
    image = tmp_path / "image"
    run(copy, "git", "init", "--quiet")
    for name in files(copy):
        if not is_ignored(copy, name):
            (image / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(copy / name, image / name)
    printed = run(
        image, RUNTIME / "bin/python", "-m", "pytest", "-p", "no:cacheprovider", "tests", ".astro",
        env={"PYTHONPATH": str(image), "AIRFLOW_HOME": str(tmp_path / "airflow")},
    )  # fmt: skip
    assert re.search(r"\d\d+ passed", printed)
    assert "needs local_dbt_cloud, not installed here" in printed
    assert "needs local_dbt_cloud and scripts, not installed here" in printed


def test_a_clone_without_the_optional_parts_passes(starter: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    run(tmp_path, "git", "clone", "--quiet", starter, clone)
    for name in ("local-dbt-cloud", "scripts", "dev", "docs"):
        shutil.rmtree(clone / name)
    (clone / "docker-compose.override.yml").unlink()
    assert lint_and_test(clone) > 50
