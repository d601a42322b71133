"""Tell which files .dockerignore leaves out of the deployed image."""

import re
from pathlib import Path


def is_ignored(project: Path, path: str) -> bool:
    """Return whether a project's .dockerignore leaves out a path, which is relative to the project.

    Understands what the file uses: plain paths, ``*``, and ``**/`` for any folder.
    """
    for line in (project / ".dockerignore").read_text().splitlines():
        rule = line.strip().rstrip("/")
        if not rule or rule.startswith("#"):
            continue
        assert not re.search(r"[!?\[]|[^*/]\*\*|\*\*[^/]", rule), f"unknown kind of rule: {rule!r}"
        pattern = re.escape(rule).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
        if re.fullmatch(rf"{pattern}(/.*)?", path):
            return True
    return False
