"""The GitHub workflows: pinned actions, read-only permissions, and the commands of the README."""

import re
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
