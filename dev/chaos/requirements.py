"""Find what Airflow on PostgreSQL and Celery needs beside this Python environment."""

import shutil
from pathlib import Path

from scripts.exceptions import UserError
from scripts.settings import PROJECT

# The environment of Airflow, with Celery.
BIN = PROJECT / ".make" / "environments" / "chaos" / "bin"

# Debian's PostgreSQL keeps its servers out of the PATH.
DEBIAN_POSTGRESQL = Path("/usr/lib/postgresql")
POSTGRESQL_COMMANDS = ("initdb", "postgres", "createdb", "pg_isready", "psql")


def find_servers() -> dict[str, str]:
    """Return the paths of the commands of PostgreSQL and Redis.

    :raises UserError: One of them is not installed, or Airflow is not.
    """
    newest_first = sorted(DEBIAN_POSTGRESQL.glob("*/bin"), key=_version, reverse=True)
    paths = {name: _find(name, newest_first) for name in (*POSTGRESQL_COMMANDS, "redis-server")}
    if missing := [name for name, path in paths.items() if path is None]:
        raise UserError(
            f"{', '.join(missing)} not found: install PostgreSQL and Redis, "
            "for example with `apt-get install postgresql redis-server`."
        )
    if not (BIN / "airflow").exists():
        raise UserError(f"Airflow is not installed in {BIN}: run `make chaos`, which installs it.")
    return {name: path for name, path in paths.items() if path}


def _find(name: str, directories: list[Path]) -> str | None:
    return shutil.which(name) or next(
        (path for directory in directories if (path := shutil.which(name, path=str(directory)))), None
    )


def _version(directory: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in directory.parent.name.split(".") if part.isdecimal())
