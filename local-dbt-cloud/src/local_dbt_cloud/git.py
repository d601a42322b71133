"""The commit of a directory that is a git checkout."""

import asyncio
from pathlib import Path


async def commit_of(directory: Path) -> str | None:
    """Return the commit that is checked out, or None if the directory is no checkout or git is missing."""
    try:
        process = await asyncio.create_subprocess_exec(
            "git", "-C", str(directory), "rev-parse", "HEAD",
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
    except FileNotFoundError:
        return None
    output, _ = await process.communicate()
    return output.decode().strip() if process.returncode == 0 else None
