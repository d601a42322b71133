"""Turns a step as people write it, such as "dbt build --select +orders", into arguments for dbt."""

import re
import shlex

# dbt's commands that make sense in a job, as dbt Cloud lists them: docs.getdbt.com/docs/deploy/job-commands.
COMMANDS = (
    "build", "clone", "compile", "deps", "docs generate", "list", "ls", "parse", "retry", "run",
    "run-operation", "seed", "show", "snapshot", "source freshness", "test",
)  # fmt: skip

# The options that may stand between "dbt" and the command and are followed by a value.
OPTIONS_WITH_VALUE = {
    "--defer-state", "--deprecated-defer", "--deprecated-favor-state", "--deprecated-state",
    "--indirect-selection", "--log-file-max-bytes", "--log-format", "--log-format-file", "--log-level",
    "--log-level-file", "--printer-width", "--state", "--target", "-t", "--warn-error-options",
}  # fmt: skip

# dbt Cloud sets these itself; in a step they would read or write outside the run's own directory.
RESERVED_OPTIONS = {
    "--project-dir", "--profiles-dir", "--target-path", "--log-path", "--profile",
    "--partial-parse-file-path", "--record-timing-info",
}  # fmt: skip
# -r is --record-timing-info and -o is --output of source freshness, also behind other letters: -qrFILE.
RESERVED_LETTERS = re.compile(r"-[dfhqxvV]*[or]")


def dbt_arguments(step: str) -> list[str]:
    """Split a step into the arguments after "dbt".

    :param step: what a job's settings or ``steps_override`` hold, such as ``"dbt build --full-refresh"``.
    :raises ValueError: the step is not a dbt command that a job may run; the message says why.
    """
    try:
        program, *arguments = shlex.split(step) or [""]
    except ValueError as error:
        raise ValueError(f"step {step!r} cannot be split into words: {error}") from error
    if program != "dbt":
        raise ValueError(f"step {step!r} is not a dbt command: it must begin with 'dbt'")
    for word in arguments:
        option = word.split("=")[0]
        if option in RESERVED_OPTIONS or RESERVED_LETTERS.match(word):
            raise ValueError(f"step {step!r} sets {option}, which dbt Cloud sets itself")
        # Of "dbt list" it is a format, of "dbt source freshness" a file.
        if option == "--output" and "freshness" in arguments:
            raise ValueError(f"step {step!r} sets --output, but its output is the artifact sources.json")
    if not _command(arguments):
        raise ValueError(f"step {step!r} is not one of the dbt commands of a job: {', '.join(COMMANDS)}")
    return arguments


def dbt_command(step: str) -> str:
    """Return the command of a step that ``dbt_arguments`` accepts, such as ``build`` or ``docs generate``."""
    return _command(dbt_arguments(step))


def _command(arguments: list[str]) -> str:
    # It stands behind dbt's global options; the answer is empty if it is none of the known commands.
    position = 0
    while position < len(arguments) and arguments[position].startswith("-"):
        position += 2 if arguments[position] in OPTIONS_WITH_VALUE else 1
    words = arguments[position : position + 2]
    return next((name for name in COMMANDS if words[: len(name.split())] == name.split()), "")
