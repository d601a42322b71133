"""What was seen of a case, and the verdict that follows from it."""

import re
from dataclasses import dataclass

from dev.faults.scenarios import Scenario
from dev.faults.stack import DbtRun

AS_IT_MUST_BE = "✓"


@dataclass(frozen=True)
class Facts:
    """What was seen when all was over: dbt Cloud's runs, the task's state, what it said.

    ``text`` is all that the task logged and pushed; ``words`` are its errors and the operator's warnings, and
    the lines that the scenario asks for. ``trouble`` names the case and says what was waited for in vain or
    raised, empty if nothing was.
    """

    runs: tuple[DbtRun, ...]
    state: str
    text: str
    words: tuple[str, ...]
    trouble: str = ""

    @property
    def carried_out(self) -> tuple[str, ...]:
        """How the runs ended that dbt Cloud began to carry out."""
        return tuple(run.status for run in self.runs if run.began)

    def verdict(self, scenario: Scenario) -> tuple[str, ...]:
        """Return what is wrong with what the task did, in a few words each; empty if nothing is."""
        seen, due = self.carried_out, scenario.runs
        green, red = self.state == "success", self.state == "failed"
        # A person who ends a task does not ask how the run is.
        judges = seen and not scenario.judged_by_hand and not any(run.active for run in self.runs)
        wrongs = {
            "hangs": not green and not red,
            "orphaned run": any(run.active for run in self.runs)
            or any(is_ == "Success" and must == "Cancelled" for is_, must in zip(seen, due, strict=False)),
            "cancelled run started again": len(seen) > len(due) and due[-1] == "Cancelled",
            "duplicate run": len(seen) > len(due) and due[-1] != "Cancelled",
            "no run": len(seen) < len(due),
            "red task for a green run": judges and red and seen[-1] == "Success",
            "green task for a run that did not succeed": judges and green and seen[-1] != "Success",
        }
        found = tuple(wrong for wrong, holds in wrongs.items() if holds)
        as_due = seen == due and self.state == scenario.state
        return found or (() if as_due else ("otherwise than it must be",))

    def unsaid(self, scenario: Scenario) -> list[str]:
        """Return the patterns that what the task says lacks."""
        return [pattern for pattern in scenario.says if not re.search(pattern, self.text, re.DOTALL)]
