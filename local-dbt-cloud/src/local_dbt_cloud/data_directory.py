"""Layout of the data directory, and access to the logs and artifacts in it."""

import fcntl
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from local_dbt_cloud.errors import UserError


@dataclass(frozen=True)
class DataDirectory:
    """The only directory that the local dbt Cloud writes to."""

    root: Path

    @property
    def state_file(self) -> Path:
        """SQLite file with jobs, runs, steps and environment variables."""
        return self.root / "state.sqlite"

    @property
    def ca_certificate(self) -> Path:
        """Certificate of the authority that issued the server certificate."""
        return self.root / "ca.pem"

    @property
    def ca_bundle(self) -> Path:
        """Certificates that clients must trust: our authority and the public ones."""
        return self.root / "ca-bundle.pem"

    @property
    def server_certificate(self) -> Path:
        """Private key and certificate of the API server."""
        return self.root / "server.pem"

    @property
    def runs(self) -> Path:
        """Directory with one subdirectory per run."""
        return self.root / "runs"

    def run(self, run_id: int) -> Path:
        """Return the directory of a run."""
        return self.runs / str(run_id)

    def repository_copy(self, run_id: int) -> Path:
        """Return the copy of the repository, which exists while the run is active."""
        return self.run(run_id) / "project"

    def step(self, run_id: int, index: int) -> Path:
        """Return the directory of a step."""
        return self.run(run_id) / f"step_{index}"

    def step_log(self, run_id: int, index: int) -> Path:
        """Return the file with the output of a step."""
        return self.step(run_id, index) / "log.txt"

    def step_debug_log(self, run_id: int, index: int) -> Path:
        """Return the debug log that dbt wrote in a step."""
        return self.step(run_id, index) / "dbt.log"

    def artifacts(self, run_id: int, index: int) -> Path:
        """Return dbt's target directory of a step."""
        return self.step(run_id, index) / "target"

    def artifact_paths(self, run_id: int, index: int) -> list[str]:
        """List the artifacts of a step as paths relative to its target directory, sorted."""
        target = self.artifacts(run_id, index)
        return sorted(
            path.relative_to(target).as_posix()
            for path in target.rglob("*")
            # dbt Cloud does not serve dbt's parse cache, which can be large.
            if path.is_file() and not path.is_symlink() and path.name != "partial_parse.msgpack"
        )

    def artifact(self, run_id: int, index: int, path: str) -> Path | None:
        """Return the file of an artifact, or None if the step has no such artifact."""
        # Comparing with the listing rules out paths that leave the target directory.
        return self.artifacts(run_id, index) / path if path in self.artifact_paths(run_id, index) else None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Create the directory and lock it while the block runs.

        :raises UserError: It is not writable, or another process has locked it.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            lock = (self.root / "lock").open("w")
        except OSError as error:
            raise UserError(
                f"Cannot write to {self.root} ({error.strerror}): "
                "set --data-dir or LOCAL_DBT_CLOUD_DATA_DIR to a writable directory."
            ) from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(
                    f"Another local dbt Cloud uses {self.root}: stop it, "
                    "or set --data-dir or LOCAL_DBT_CLOUD_DATA_DIR to another directory."
                ) from error
            yield


def read_text(path: Path, last_lines: int | None = None) -> str:
    """Return the contents of a log file, empty if it does not exist yet.

    :param last_lines: Return only this many lines from the end; all if omitted.
    """
    try:
        with path.open(encoding="utf-8", errors="replace") as log:
            return log.read() if last_lines is None else "".join(deque(log, last_lines))
    except FileNotFoundError:
        return ""
