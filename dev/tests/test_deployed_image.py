"""The tests pass in the deployed image."""

import re
import shutil
import sys
from pathlib import Path

import pytest

from dev.tests.copies import list_files, make_copy, run
from tests.dockerignore import is_ignored

pytestmark = pytest.mark.end_to_end

RUNTIME = Path(sys.executable).parents[2] / "environments" / "astro_runtime"


def test_the_tests_pass_in_the_image(starter: Path, tmp_path: Path) -> None:
    """Test what `astro dev pytest` tests: the image's files with the packages of the Runtime."""
    assert (RUNTIME / "ready").is_file(), "`make test` creates this environment"
    copy = make_copy(tmp_path / "copy", starter)
    image = tmp_path / "image"
    run(copy, "git", "init", "--quiet")
    for name in list_files(copy):
        if not is_ignored(copy, name):
            (image / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(copy / name, image / name)
    output = run(
        image, RUNTIME / "bin/python", "-m", "pytest", "-p", "no:cacheprovider", "tests", ".astro",
        "-k", "not simulation",
        # The image has no browser.
        env={
            "PYTHONPATH": str(image), "AIRFLOW_HOME": str(tmp_path / "airflow"), "PATH": str(RUNTIME / "bin"),
        },
    )  # fmt: skip
    assert re.search(r"\d\d+ passed", output)
    assert "needs local_dbt_cloud, not installed here" in output
    assert "needs local_dbt_cloud and scripts, not installed here" in output
