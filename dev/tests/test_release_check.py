"""`make release-check` finds versions, documents and pinned commits that do not agree."""

import subprocess
from pathlib import Path

import pytest

from dev.release_check import GENERATED, Finding, check_changelog, check_generated_docs, check_pinned_commits
from dev.tests.copies import run


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A git repository that is ready for a release."""
    project = tmp_path / "project"
    for name, text in {
        "CHANGELOG.md": "# Changelog\n\n## 1.2.3, 2026-01-31\n\n- A change.\n",
        "local-dbt-cloud/pyproject.toml": '[project]\nversion = "4.5.6"\n',
        "local-dbt-cloud/CHANGELOG.md": "# Changelog\n\n## 4.5.6\n\n- A change.\n",
        "include/dbt_cloud/hook.py": "",
        ".pre-commit-config.yaml": "",
        **dict.fromkeys(GENERATED, ""),
    }.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    run(project, "git", "init", "--quiet")
    commit(project)
    return project


def commit(project: Path) -> str:
    """Commit everything; return the commit."""
    run(project, "git", "add", "--all")
    run(project, "git", "commit", "--quiet", "--message", "Change something")
    return run(project, "git", "rev-parse", "HEAD").strip()


def failures(findings: list[Finding]) -> list[str]:
    """Return the texts of the findings that failed."""
    return [finding.text for finding in findings if finding.passed is False]


def test_a_project_that_is_ready_passes(project: Path) -> None:
    findings = [*check_changelog(project), *check_generated_docs(project)]
    assert all(finding.passed for finding in findings)
    assert len(findings) == 3 + len(GENERATED)


def test_a_changelog_without_a_version_fails(project: Path) -> None:
    (project / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n")
    (text,) = failures(list(check_changelog(project)))
    assert text.startswith("CHANGELOG.md begins with 'Unreleased'")


def test_another_version_and_a_used_tag_fail(project: Path) -> None:
    (project / "local-dbt-cloud/pyproject.toml").write_text('version = "4.5.7"\n')
    run(project, "git", "tag", "v1.2.3")
    assert failures(list(check_changelog(project))) == [
        "local-dbt-cloud has version 4.5.7, its changelog 4.5.6",
        "the tag v1.2.3 is taken",
    ]


def test_a_document_that_is_older_than_its_code_fails(project: Path) -> None:
    (project / "include/dbt_cloud/hook.py").write_text("changed\n")
    commit(project)
    (project / "docs/faults.md").write_text("generated again\n")
    commit(project)
    stale = failures(list(check_generated_docs(project)))
    assert [text.split(":")[0] for text in stale] == ["docs/chaos.md", "docs/benchmarks.md"]
    assert "1 commits changed its code since" in stale[0]


def test_pinned_commits_are_compared_with_their_tags(project: Path, tmp_path: Path) -> None:
    server = f"{tmp_path}/"
    tagged = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=project, text=True).strip()
    # An annotated tag is a separate object that points to the commit.
    run(project, "git", "tag", "--annotate", "--message", "x", "v1")
    (tmp_path / "owner").mkdir()
    (tmp_path / "owner/action").symlink_to(project)
    workflow = project / ".github/workflows/test.yaml"
    workflow.parent.mkdir(parents=True)
    for pinned, tag, expected in ((tagged, "v1", True), ("0" * 40, "v1", False), (tagged, "v2", False)):
        workflow.write_text(f"- uses: owner/action/sub@{pinned} # {tag}\n")
        assert [finding.passed for finding in check_pinned_commits(project, server)] == [expected]
    workflow.write_text(f"- uses: owner/missing@{tagged} # v1\n")
    (finding,) = check_pinned_commits(project, server)
    assert str(finding).startswith("not checked owner/missing@v1: ")
