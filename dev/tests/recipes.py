"""Apply the recipes of docs/make-it-yours.md to a copy, as the page says."""

import re
from pathlib import Path

from dev.tests.copies import COPIER, PROJECT, run

PAGE = PROJECT / "docs/make-it-yours.md"
SECTION = re.compile(r"^## (.+?)\n(.*?)(?=^## |\Z)", re.M | re.S)
# The text before a block names its file. Blocks without a file are not applied, except bash.
BLOCK = re.compile(
    r"(?:\b(add to|create|in)\s+`([^`]+)`[^\n]*\n\n)?^```(\w+)\n(.*?)^```$", re.I | re.M | re.S
)
# The test's Copier, without output.
UVX = f'uvx() {{ shift; "{COPIER}" "$@" --quiet; }}\n'


def apply_recipe(title: str, directory: Path) -> dict[str, str]:
    """Do what a section of the page says; return the text of its last block in each language."""
    blocks = BLOCK.findall(dict(SECTION.findall(PAGE.read_text()))[title])
    assert blocks, title
    for verb, name, language, text in blocks:
        path = directory / name
        if language == "bash":
            run(directory, "bash", "-e", "-c", UVX + text)
        elif verb.lower() == "add to":
            path.write_text(path.read_text() + "\n" + text if path.exists() else text)
        elif verb.lower() == "create":
            assert not path.exists(), name
            path.write_text(text)
        elif language == "diff" and name:
            path.write_text(patched(path.read_text(), text))
    return {language: text for *_, language, text in blocks}


def patched(content: str, diff: str) -> str:
    """Return a text after the changes of a diff, whose hunks are separated by dots."""
    for hunk in diff.split(" ...\n"):
        lines = hunk.splitlines(keepends=True)
        old = "".join(line[1:] for line in lines if line[0] in "- ")
        assert content.count(old) == 1, f"expected once: {old}"
        content = content.replace(old, "".join(line[1:] for line in lines if line[0] in "+ "))
    return content
