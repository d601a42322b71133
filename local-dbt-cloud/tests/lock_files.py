"""Checks of lock files that `uv pip compile` wrote."""

import re


def pins(lock: str) -> dict[str, str]:
    """Return the pinned version of each package."""
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", lock, re.MULTILINE))


def check_hashes(lock: str) -> None:
    """Check that the file names no package registry, and that each package has hashes."""
    assert "://" not in lock
    hashed = re.findall(r"^[a-z0-9._-]+==\S+ (?:; [^\\]+ )?\\\n +--hash=sha256:", lock, re.MULTILINE)
    # Packages with several versions, for different platforms, are pinned more than once.
    assert len(hashed) == len(re.findall(r"^\S+==", lock, re.MULTILINE))
