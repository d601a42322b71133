"""A PostgreSQL server in a temporary directory."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from dev.chaos.service import Service
from scripts.exceptions import UserError
from scripts.processes import free_port, wait_until

# PostgreSQL does not run as root: this is the user of Debian's package.
UNPRIVILEGED_USER = "postgres"
NAME = "airflow"
# Seconds.
START_TIMEOUT = 60


class Database(Service):
    """The server, whose only user needs no password.

    :param servers: Paths of PostgreSQL's commands.
    :param logs: Directory for its logs.
    """

    def __init__(self, servers: dict[str, str], logs: Path) -> None:
        self.port = free_port()
        # Not below another temporary directory, which only root may enter.
        self._data = tempfile.TemporaryDirectory(prefix="chaos-postgres-", ignore_cleanup_errors=True)
        self._servers = servers
        self._address = ["--host", "127.0.0.1", "--port", str(self.port), "--username", NAME]
        command = [
            *_unprivileged(), servers["postgres"], "-D", self._data.name, "-p", str(self.port),
            "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "max_connections=300",
            # A killed server recovers without fsync too: only a crash of the machine would lose data.
            "-c", "fsync=off",
        ]  # fmt: skip
        super().__init__("postgres", command, os.environ, logs)

    def create(self) -> None:
        """Create the data directory, start the server and create the database.

        :raises UserError: It did not start.
        """
        if os.geteuid() == 0:
            try:
                shutil.chown(self._data.name, UNPRIVILEGED_USER)
            except LookupError as error:
                raise UserError(
                    f"PostgreSQL does not run as root, and there is no user {UNPRIVILEGED_USER}: "
                    "run the command as another user."
                ) from error
        self._run("initdb", "--pgdata", self._data.name, "--username", NAME, "--auth", "trust", "--no-sync")
        self.start_and_wait()
        self._run("createdb", *self._address, NAME)

    def start_and_wait(self) -> None:
        """Start the server and wait until it accepts connections.

        :raises UserError: It did not start.
        """
        self.start()
        command = [self._servers["pg_isready"], *self._address]

        def is_ready() -> bool:
            return subprocess.run(command, capture_output=True, check=False).returncode == 0

        wait_until(is_ready, "PostgreSQL", self.process, self.log, START_TIMEOUT)

    @property
    def address(self) -> str:
        """Its address for SQLAlchemy."""
        return f"postgresql+psycopg2://{NAME}@127.0.0.1:{self.port}/{NAME}"

    def query(self, statement: str) -> str:
        """Return the first value that a statement selects.

        :raises UserError: It failed.
        """
        return self._run("psql", *self._address, "--no-align", "--tuples-only", "--command", statement, NAME)

    def delete(self) -> None:
        """Delete its data."""
        self._data.cleanup()

    def _run(self, name: str, *arguments: str) -> str:
        command = [*_unprivileged(), self._servers[name], *arguments]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            raise UserError(f"{name} failed: {result.stderr.strip()}")
        return result.stdout.strip()


def _unprivileged() -> list[str]:
    if os.geteuid():
        return []
    return ["setpriv", f"--reuid={UNPRIVILEGED_USER}", f"--regid={UNPRIVILEGED_USER}", "--clear-groups"]
