"""The GitHub workflows: pinned actions, read-only permissions, and the commands of the README."""

import re
import runpy
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import PROJECT

WORKFLOWS = sorted((PROJECT / ".github" / "workflows").glob("*.yaml"))

if not WORKFLOWS:
    pytest.skip("there are no workflows", allow_module_level=True)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_action_is_pinned_to_a_commit(path: Any) -> None:
    uses = re.findall(r"uses: (\S+)(.*)", path.read_text())
    assert uses
    for action, comment in uses:
        assert action.startswith("./") or re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action), action
        assert action.startswith("./") or re.fullmatch(r" # v[\d.]+", comment), action


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_can_only_read_the_repository(path: Any) -> None:
    assert yaml.safe_load(path.read_text())["permissions"] == {"contents": "read"}


def test_every_pre_commit_hook_is_pinned_to_a_commit() -> None:
    revisions = re.findall(r"rev: (.*)", (PROJECT / ".pre-commit-config.yaml").read_text())
    assert revisions
    assert all(re.fullmatch(r"[0-9a-f]{40} # v[\d.]+", revision) for revision in revisions)


def test_local_hooks_run_from_the_environment_of_make() -> None:
    (venv,) = re.findall(r"^VENV := (.+)$", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    repos = yaml.safe_load((PROJECT / ".pre-commit-config.yaml").read_text())["repos"]
    (local,) = [repo for repo in repos if repo["repo"] == "local"]
    assert all(hook["entry"].startswith(f"{venv}/bin/") for hook in local["hooks"])


def test_the_test_workflow_runs_the_commands_of_the_readme() -> None:
    steps = yaml.safe_load((PROJECT / ".github/workflows/test.yaml").read_text())["jobs"]["test"]["steps"]
    assert [step["run"] for step in steps if "run" in step] == ["make lint", "make test"]


def test_dependencies_are_updated_a_week_after_their_release() -> None:
    updates = yaml.safe_load((PROJECT / ".github/dependabot.yml").read_text())["updates"]
    assert all(update["cooldown"]["default-days"] >= 7 for update in updates)
    assert (
        "UV_EXCLUDE_NEWER=$(date --utc --date '7 days ago'"
        in (PROJECT / ".github/workflows/update.yaml").read_text()
    )


def release(date: str, airflow: str, **more: Any) -> dict[str, Any]:
    return {"metadata": {"releaseDate": date, "airflowVersion": airflow, "channel": "stable", **more}}


def test_the_newest_stable_runtime_is_proposed() -> None:
    newest_runtime = runpy.run_path(str(PROJECT / ".github/update_pins.py"))["newest_runtime"]
    releases = {
        "3.3-8": release("2026-09-23", "3.3.2"),
        "3.3-10": release("2026-10-01", "3.3.3"),
        "3.3-11": release("2026-10-02", "3.3.3", yanked=True),
        "3.3-12": release("2026-10-29", "3.3.4"),
        "3.4-1-alpha1": release("2026-10-01", "3.4.0"),
        "3.4-1": release("2026-10-01", "3.4.0", channel="alpha"),
    }
    assert newest_runtime(releases, "3.3-8", "2026-10-20T00:00:00Z") == ("3.3-10", "3.3.3")
    with pytest.raises(LookupError, match=r"No Astro Runtime from 3\.3-8"):
        newest_runtime(releases, "3.3-8", "2026-09-01T00:00:00Z")


def test_an_update_pins_the_same_versions_in_all_files(tmp_path: Path) -> None:
    names = ["Dockerfile", "requirements.txt", "requirements-dev.in", "dev/astro_runtime.in"]
    for name in [name for name in names if (PROJECT / name).is_file()]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(PROJECT / name, tmp_path / name)
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text(dockerfile.read_text().strip() + "-python-3.13\n")
    runpy.run_path(str(PROJECT / ".github/update_pins.py"))["pin"](tmp_path, "9.9-1", "9.9.2", "8.7.6")
    assert dockerfile.read_text() == "FROM astrocrpublic.azurecr.io/runtime:9.9-1-python-3.13\n"
    for path in tmp_path.rglob("*"):
        pins = (
            re.findall(r"^apache-airflow(?:-providers-dbt-cloud)?==(.*)$", path.read_text(), re.M)
            if path.is_file()
            else []
        )
        assert set(pins) <= {"9.9.2", "8.7.6"}, path
