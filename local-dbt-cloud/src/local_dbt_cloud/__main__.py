"""Start the command ``local-dbt-cloud`` without its token in the environment.

Processes of the same user can read the environment with which this one was started, for example from
``/proc``, and a step of dbt must not find the token there. So the process restarts itself, and receives the
token through a pipe. Nothing else is imported before that: imports take most of the time of a start.
"""

import gc
import os
import sys

TOKEN = "LOCAL_DBT_CLOUD_TOKEN"  # noqa: S105
TOKEN_PIPE = "LOCAL_DBT_CLOUD_TOKEN_PIPE"  # noqa: S105


def main() -> None:
    """Run the command."""
    # Imported objects are never garbage: scanning them takes a tenth of the start, and of each request.
    gc.disable()
    if TOKEN_PIPE in os.environ:
        with os.fdopen(int(os.environ.pop(TOKEN_PIPE)), "rb") as pipe:
            os.environ[TOKEN] = os.fsdecode(pipe.read())
    elif TOKEN in os.environ:
        _restart(os.environ.pop(TOKEN))
    from local_dbt_cloud.cli import main as run_command

    gc.freeze()
    gc.set_threshold(10_000)
    gc.enable()
    run_command()


def _restart(token: str) -> None:
    reader, writer = os.pipe()
    # A token fits into the buffer of the pipe.
    os.write(writer, os.fsencode(token))
    os.close(writer)
    os.set_inheritable(reader, True)
    environment = os.environ | {TOKEN_PIPE: str(reader)}
    # -P: as for the installed command, do not import from the working directory.
    command = [sys.executable, "-P", "-m", "local_dbt_cloud", *sys.argv[1:]]
    os.execve(sys.executable, command, environment)  # noqa: S606


if __name__ == "__main__":
    main()
