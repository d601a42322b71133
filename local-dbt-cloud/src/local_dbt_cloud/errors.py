"""The exception for problems that the user can fix."""


class UserError(Exception):
    """A problem that the user can fix. The message says what failed and what to do; no traceback is shown."""
