"""Parse the steps of a job, such as ``dbt build --select +orders``, into arguments for dbt."""

import re
import shlex

# Commands that dbt Cloud allows in a job: docs.getdbt.com/docs/deploy/job-commands.
COMMANDS = (
    "build", "clone", "compile", "deps", "docs generate", "list", "ls", "parse", "retry", "run",
    "run-operation", "seed", "show", "snapshot", "source freshness", "test",
)  # fmt: skip

# Global options, which may precede the command, that are followed by a value.
OPTIONS_WITH_VALUE = {
    "--defer-state", "--deprecated-defer", "--deprecated-favor-state", "--deprecated-state",
    "--indirect-selection", "--log-file-max-bytes", "--log-format", "--log-format-file", "--log-level",
    "--log-level-file", "--printer-width", "--state", "--target", "-t", "--warn-error-options",
}  # fmt: skip

# Options that dbt Cloud sets itself. In a step, they could read or write outside the directory of the run.
RESERVED_OPTIONS = {
    "--project-dir", "--profiles-dir", "--target-path", "--log-path", "--profile",
    "--partial-parse-file-path", "--record-timing-info",
}  # fmt: skip
# -r is --record-timing-info, -o is --output of source freshness; both may follow other letters, as in
# -qrFILE.
RESERVED_LETTERS = re.compile(r"-[dfhqxvV]*[or]")


def dbt_arguments(step: str) -> list[str]:
    """Split a step into the arguments after ``dbt``.

    :param step: Step of a job or of ``steps_override``, such as ``dbt build --full-refresh``.
    :raises ValueError: The step is not a dbt command that a job may run.
    """
    try:
        program, *arguments = shlex.split(step) or [""]
    except ValueError as error:
        raise ValueError(f"step {step!r} cannot be parsed: {error}") from error
    if program != "dbt":
        raise ValueError(f"step {step!r} is not a dbt command: it must start with 'dbt'")
    for argument in arguments:
        option = argument.split("=")[0]
        if option in RESERVED_OPTIONS or RESERVED_LETTERS.match(argument):
            raise ValueError(f"step {step!r} sets {option}, which dbt Cloud sets itself")
        # For "dbt list" it is a format, for "dbt source freshness" a file.
        if option == "--output" and "freshness" in arguments:
            raise ValueError(f"step {step!r} sets --output, but dbt Cloud expects the artifact sources.json")
    if not _find_command(arguments):
        raise ValueError(f"step {step!r} is not one of the dbt commands of a job: {', '.join(COMMANDS)}")
    return arguments


def dbt_command(step: str) -> str:
    """Return the command of a valid step, such as ``build`` or ``docs generate``."""
    return _find_command(dbt_arguments(step))


def _find_command(arguments: list[str]) -> str:
    """Return the command that follows the global options, or an empty string if it is not in ``COMMANDS``."""
    position = 0
    while position < len(arguments) and arguments[position].startswith("-"):
        position += 2 if arguments[position] in OPTIONS_WITH_VALUE else 1
    words = arguments[position : position + 2]
    return next((name for name in COMMANDS if words[: len(name.split())] == name.split()), "")
