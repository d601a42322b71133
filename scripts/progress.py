"""Show what is being waited for, and tick off what is done."""

import time
from contextlib import AbstractContextManager

from rich.console import Console
from rich.markup import escape
from rich.status import Status


class Progress:
    """A console that counts the seconds since it was made.

    :param quiet: Print nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(quiet=quiet)
        self._begin = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long it has been."""
        return time.monotonic() - self._begin

    def waiting(self, text: str) -> AbstractContextManager[Status]:
        """Show what is waited for while the block runs; on a terminal only, as it moves."""
        return self.console.status(text)

    def done(self, text: str) -> None:
        """Tick something off."""
        self.line(f"[green]✓[/] {escape(text)} [dim]({self.seconds:.0f} s)[/]")

    def line(self, text: str) -> None:
        """Print a line that is never wrapped: a terminal makes a link only of an address on one line."""
        self.console.print(text, soft_wrap=True, highlight=False)
