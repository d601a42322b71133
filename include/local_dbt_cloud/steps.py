"""Turns a step as people write it, such as "dbt build --select +orders", into arguments for dbt."""

import shlex

# dbt's commands that make sense in a job, as dbt Cloud lists them: docs.getdbt.com/docs/deploy/job-commands.
COMMANDS = {
    "build", "clone", "compile", "deps", "docs", "list", "ls", "parse", "retry",
    "run", "run-operation", "seed", "show", "snapshot", "source", "test",
}  # fmt: skip

# dbt Cloud sets these itself; in a step they would read or write outside the run's own directory.
RESERVED_OPTIONS = ("--project-dir", "--profiles-dir", "--target-path", "--log-path", "--profile")


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
    command = next((word for word in arguments if word in COMMANDS), None)
    first_word = next((word for word in arguments if not word.startswith("-")), None)
    # Options may stand before the command, and some of them take a value: dbt --log-level debug build.
    if command is None or (first_word != command and not arguments[0].startswith("-")):
        raise ValueError(
            f"step {step!r} is not a dbt command that a job can run: {', '.join(sorted(COMMANDS))}"
        )
    if command == "docs" and "serve" in arguments:
        raise ValueError(f"step {step!r} never ends: use 'dbt docs generate'")
    for word in arguments:
        if word.split("=")[0] in RESERVED_OPTIONS:
            raise ValueError(f"step {step!r} sets {word.split('=')[0]}, which dbt Cloud sets itself")
    return arguments
