"""The exception with which a command fails."""


class UserError(Exception):
    """A command failed for a reason that the user can fix; its message replaces the traceback."""
