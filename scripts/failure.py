"""The one exception that ends a command with a sentence instead of a traceback."""


class Failure(Exception):
    """What went wrong, in one sentence that says what to do."""
