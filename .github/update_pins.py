"""Pin the newest Astro Runtime, the Airflow that it carries, and the newest dbt Cloud provider for it.

UV_EXCLUDE_NEWER, a date, leaves out what was released later. `make lock` must follow.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.request import urlopen

PROJECT = Path(__file__).parent.parent
# The list that the Astro CLI reads.
RELEASES = "https://updates.astronomer.io/astronomer-runtime"
PROVIDER = "apache-airflow-providers-dbt-cloud"


def newest_runtime(releases: dict[str, dict[str, Any]], current: str, before: str) -> tuple[str, str]:
    """Return the newest stable Runtime and its Airflow version.

    :param releases: ``runtimeVersionsV3`` of the list of releases.
    :param current: Tag of the Dockerfile: an older Runtime is not proposed.
    :param before: Ignore releases of this date or later.
    :raises LookupError: No release qualifies.
    """
    candidates = {
        tag: release["metadata"]
        for tag, release in releases.items()
        if re.fullmatch(r"\d+\.\d+-\d+", tag)
        and release["metadata"]["channel"] == "stable"
        and not release["metadata"].get("yanked")
        and release["metadata"]["releaseDate"] < before
        and _key(tag) >= _key(current)
    }
    if not candidates:
        raise LookupError(f"No Astro Runtime from {current} on was released before {before}.")
    tag = max(candidates, key=_key)
    return tag, candidates[tag]["airflowVersion"]


def pin(project: Path, runtime: str, airflow: str, provider: str) -> None:
    """Write the versions into all files that pin them."""
    _replace(project / "Dockerfile", r"(?<=runtime:)\d+\.\d+-\d+", runtime)
    _replace(project / "requirements.txt", rf"(?<={PROVIDER}==)\S+", provider)
    # A copy of the starter has no folder dev.
    for name in ("requirements-dev.in", "dev/astro_runtime.in"):
        if (project / name).is_file():
            _replace(project / name, r"(?<=^apache-airflow==)\S+", airflow)


def _key(tag: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", tag)]


def _replace(path: Path, pattern: str, version: str) -> None:
    text, count = re.subn(pattern, version, path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    if count != 1:
        raise LookupError(f"{path} pins {count} versions where one is expected.")
    path.write_text(text, encoding="utf-8")


def _newest_provider(airflow: str) -> str:
    uv = str(Path(sys.executable).with_name("uv"))
    requirements = f"{PROVIDER}\napache-airflow=={airflow}\n"
    output = subprocess.run(
        [uv, "pip", "compile", "--quiet", "--no-header", "--no-annotate", "-"],
        input=requirements, stdout=subprocess.PIPE, text=True, check=True,
    ).stdout  # fmt: skip
    return re.findall(rf"^{PROVIDER}==(\S+)$", output, re.MULTILINE)[0]


if __name__ == "__main__":
    dockerfile = (PROJECT / "Dockerfile").read_text(encoding="utf-8")
    with urlopen(RELEASES, timeout=30) as response:
        known = json.load(response)["runtimeVersionsV3"]
    # Without a suffix such as -python-3.13, which stays.
    (current,) = re.findall(r"runtime:(\d+\.\d+-\d+)", dockerfile)
    tag, version = newest_runtime(known, current, os.environ["UV_EXCLUDE_NEWER"])
    pin(PROJECT, tag, version, _newest_provider(version))
