"""Print the progress of a command to the terminal."""

import time
from contextlib import AbstractContextManager

from rich.console import Console
from rich.markup import escape
from rich.status import Status


class Progress:
    """A console that prints each completed step with the seconds since the command started.

    :param quiet: Print nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(quiet=quiet)
        self._started_at = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the command started."""
        return time.monotonic() - self._started_at

    def status(self, text: str) -> AbstractContextManager[Status]:
        """Show a spinner with a text while the block runs, if the output is a terminal."""
        return self.console.status(text)

    def done(self, text: str) -> None:
        """Print a completed step."""
        self.print(f"[green]✓[/] {escape(text)} [dim]({self.seconds:.0f} s)[/]")

    def stopped(self) -> None:
        """Print that the command was stopped."""
        self.print("Stopped. All processes have ended.")

    def print(self, text: str) -> None:
        """Print a line without wrapping it: terminals do not recognize links that span two lines."""
        self.console.print(text, soft_wrap=True, highlight=False)
