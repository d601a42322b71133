"""Where things are in the data directory, and how artifacts are found in it."""

from collections import deque
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DataDirectory:
    """The one directory that the local dbt Cloud writes to."""

    root: Path

    @property
    def state(self) -> Path:
        """The SQLite file with jobs, runs and their steps."""
        return self.root / "state.sqlite"

    @property
    def ca_bundle(self) -> Path:
        """The certificates that a client must trust: our own authority and the public ones."""
        return self.root / "ca-bundle.pem"

    @property
    def server_certificate(self) -> Path:
        """The server's private key and certificate."""
        return self.root / "server.pem"

    @property
    def runs(self) -> Path:
        """What belongs to runs, a directory each."""
        return self.root / "runs"

    def run(self, run_id: int) -> Path:
        """What belongs to one run."""
        return self.runs / str(run_id)

    def step(self, run_id: int, index: int) -> Path:
        """What belongs to one step of a run."""
        return self.run(run_id) / f"step_{index}"

    def step_log(self, run_id: int, index: int) -> Path:
        """What the step printed."""
        return self.step(run_id, index) / "log.txt"

    def step_debug_log(self, run_id: int, index: int) -> Path:
        """What dbt wrote to its debug log in the step."""
        return self.step(run_id, index) / "dbt.log"

    def artifacts(self, run_id: int, index: int) -> Path:
        """dbt's target directory of the step."""
        return self.step(run_id, index) / "target"

    def artifact_paths(self, run_id: int, index: int) -> list[str]:
        """List the step's artifacts as paths below its target directory, sorted."""
        target = self.artifacts(run_id, index)
        return sorted(
            path.relative_to(target).as_posix()
            for path in target.rglob("*")
            # dbt's parse cache is for dbt alone: it can be large, and dbt Cloud does not offer it.
            if path.is_file() and not path.is_symlink() and path.name != "partial_parse.msgpack"
        )

    def artifact(self, run_id: int, index: int, path: str) -> Path | None:
        """Return the file of an artifact, None if the step has none of that path."""
        # Only what is listed is served, so no path can leave the target directory.
        return self.artifacts(run_id, index) / path if path in self.artifact_paths(run_id, index) else None


def read_text(path: Path, last_lines: int | None = None) -> str:
    """Return a log's text or its last lines; empty if there is no such file yet."""
    try:
        with path.open(encoding="utf-8", errors="replace") as log:
            return log.read() if last_lines is None else "".join(deque(log, last_lines))
    except FileNotFoundError:
        return ""
