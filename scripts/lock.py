"""Lock the project while `make run` or `make start` runs, so that a second one says where the first runs."""

import contextlib
import fcntl
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from scripts.exceptions import UserError
from scripts.settings import PROJECT


@contextlib.contextmanager
def locked(airflow_home: Path, command: str, url: str) -> Iterator[None]:
    """Lock an Airflow home while the block runs. The lock ends with the process, also when it is killed.

    :param command: Name of the command, for the message of another one.
    :param url: URL of its Airflow, for the same message.
    :raises UserError: Another command has locked it, or the directory is not writable.
    """
    try:
        airflow_home.mkdir(parents=True, exist_ok=True)
        lock = (airflow_home / "lock").open("a+")
    except OSError as error:
        raise UserError(
            f"Cannot write to {airflow_home} ({error.strerror}): change its permissions."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise UserError(_describe(lock.read())) from error
        lock.truncate(0)
        lock.write(json.dumps({"command": command, "url": url}))
        lock.flush()
        yield


def check_nothing_runs(airflow_home: Path) -> None:
    """Check that no command has locked an Airflow home, or that of an account in it.

    :raises UserError: A command has locked one of them.
    """
    for path in [*airflow_home.glob("lock"), *airflow_home.glob("accounts/*/lock")]:
        with path.open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(_describe(lock.read())) from error


def _describe(text: str) -> str:
    # The file is empty for a moment after the other command has locked it.
    other = json.loads(text) if text else {"command": "make start", "url": "another port"}
    return f"{other['command']} already runs here, with Airflow at {other['url']}: stop it with Ctrl-C first."


if __name__ == "__main__":
    # Used by `make clean`.
    try:
        check_nothing_runs(PROJECT / ".airflow")
    except UserError as error:
        sys.exit(f"make clean failed: {error}")
