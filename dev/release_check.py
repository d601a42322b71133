"""`make release-check`: what must be true before a version is tagged."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[1]
# What each generated document is measured with.
GENERATED = {
    "docs/faults.md": ("include/dbt_cloud", "dev/faults"),
    "docs/chaos.md": ("include/dbt_cloud", "dev/chaos"),
    "docs/benchmarks.md": ("include/dbt_cloud", "dev/benchmark"),
}
GITHUB = "https://github.com/"
GIT = shutil.which("git") or "git"


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    :param passed: None if it could not be checked.
    """

    passed: bool | None
    text: str

    def __str__(self) -> str:
        mark = {True: "ok", False: "FAILED", None: "not checked"}[self.passed]
        return f"{mark:<12}{self.text}"


def check_changelog(project: Path) -> Iterator[Finding]:
    """Check that both changelogs begin with a version, the emulator's with that of its package."""
    heading = re.search(r"^## (.*)$", (project / "CHANGELOG.md").read_text(), re.MULTILINE)
    match = re.fullmatch(r"(\d+\.\d+\.\d+), \d{4}-\d\d-\d\d", heading[1]) if heading else None
    if not match:
        found = heading[1] if heading else "nothing"
        yield Finding(
            False, f"CHANGELOG.md begins with {found!r}: give the version and date, `## 1.2.3, 2026-01-31`"
        )
        return
    version = match[1]
    yield Finding(True, f"CHANGELOG.md begins with version {version}")
    pyproject = (project / "local-dbt-cloud/pyproject.toml").read_text()
    (emulator,) = re.findall(r'^version = "(.+)"$', pyproject, re.MULTILINE)
    changes = (project / "local-dbt-cloud/CHANGELOG.md").read_text()
    described = next(iter(re.findall(r"^## (.+)$", changes, re.MULTILINE)), "none")
    yield Finding(described == emulator, f"local-dbt-cloud has version {emulator}, its changelog {described}")
    tagged = _git(project, "tag", "--list", f"v{version}")
    yield Finding(not tagged, f"the tag v{version} is {'taken' if tagged else 'free'}")


def check_generated_docs(project: Path) -> Iterator[Finding]:
    """Check that no generated document is older than the code that it describes."""
    for document, sources in GENERATED.items():
        if not (project / document).is_file():
            yield Finding(False, f"{document} is missing")
            continue
        generated = _git(project, "log", "-1", "--format=%H", "--", document)
        changes = _git(project, "log", "--format=%h %s", f"{generated}..HEAD", "--", *sources).splitlines()
        newest = f", last {changes[0]}" if changes else ""
        yield Finding(not changes, f"{document}: {len(changes)} commits changed its code since{newest}")


def check_pinned_commits(project: Path, server: str = GITHUB) -> Iterator[Finding]:
    """Check that every pinned commit of an action or hook is the one that its tag names.

    :param server: Prefix of the addresses of the repositories.
    """
    for repository, commit, tag in sorted(_pins(project)):
        name = f"{repository}@{tag}"
        process = subprocess.run(
            [GIT, "ls-remote", f"{server}{repository}", f"refs/tags/{tag}", f"refs/tags/{tag}^{{}}"],
            capture_output=True, text=True, check=False, timeout=60,
            env=os.environ | {"GIT_TERMINAL_PROMPT": "0"},
        )  # fmt: skip
        if process.returncode:
            yield Finding(None, f"{name}: {server}{repository} is not reachable")
            continue
        commits = [line.split()[0] for line in process.stdout.splitlines()]
        if commit in commits:
            yield Finding(True, f"{name} is {commit[:12]}")
        else:
            yield Finding(False, f"{name} is {', '.join(commits) or 'no tag'}; pinned is {commit}")


def _pins(project: Path) -> set[tuple[str, str, str]]:
    """Return repository, commit and tag of the actions of all workflows and of the pre-commit hooks."""
    workflows = "".join(path.read_text() for path in (project / ".github/workflows").glob("*.yaml"))
    actions = re.findall(r"uses: ([\w-]+/[\w.-]+)[\w./-]*@([0-9a-f]{40}) # (v[\d.]+)", workflows)
    hooks = re.findall(
        rf"repo: {GITHUB}(\S+)\n +rev: ([0-9a-f]{{40}}) # (v[\d.]+)",
        (project / ".pre-commit-config.yaml").read_text(),
    )
    return {*actions, *hooks}


def _git(project: Path, *arguments: str) -> str:
    return subprocess.run(
        [GIT, *arguments], cwd=project, capture_output=True, text=True, check=True
    ).stdout.strip()


def main() -> None:
    """Print all findings; exit with 1 if one failed."""
    failed = False
    for check in (check_changelog, check_generated_docs, check_pinned_commits):
        for finding in check(PROJECT):
            print(finding, flush=True)
            failed |= finding.passed is False
    sys.exit(failed)


if __name__ == "__main__":
    main()
