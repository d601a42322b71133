"""Find out which files .dockerignore excludes from the deployed image."""

import re
from pathlib import Path


def is_ignored(project: Path, path: str) -> bool:
    """Return whether a project's .dockerignore excludes a path.

    Supports the patterns of that file: plain paths, ``*``, and ``**/`` for any folder.

    :param path: Path relative to the project.
    """
    for line in (project / ".dockerignore").read_text().splitlines():
        rule = line.strip().rstrip("/")
        if not rule or rule.startswith("#"):
            continue
        assert not re.search(r"[!?\[]|[^*/]\*\*|\*\*[^/]", rule), f"unsupported pattern: {rule!r}"
        pattern = re.escape(rule).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
        if re.fullmatch(rf"{pattern}(/.*)?", path):
            return True
    return False
