"""What was observed in a trial, and the violations that follow from it."""

import re
from dataclasses import dataclass
from typing import Self

from dev.faults.scenarios import Scenario
from dev.faults.stack import DbtRun


@dataclass(frozen=True)
class Observation:
    """The state of dbt Cloud and Airflow at the end of a trial.

    :param runs: All runs of the job, oldest first.
    :param state: State of the task; the states of several tasks, joined with a slash.
    :param log: Everything that the tasks logged, and the XCom ``run_results``.
    :param highlights: Errors, warnings and recovery messages in the log.
    :param error: Why the trial itself failed; empty if it did not.
    """

    runs: tuple[DbtRun, ...]
    state: str
    log: str
    highlights: tuple[str, ...]
    error: str = ""

    @classmethod
    def of_error(cls, error: str) -> Self:
        """Return the observation of a trial of which nothing else is known."""
        return cls((), "", "", (), error)

    @property
    def run_statuses(self) -> tuple[str, ...]:
        """Final statuses of the runs that left the queue."""
        return tuple(run.status for run in self.runs if run.started)

    def violations(self, scenario: Scenario) -> tuple[str, ...]:
        """Return what differs from the expected result, in a few words each."""
        statuses, expected = self.run_statuses, scenario.expected_runs
        succeeded, failed = self.state == "success", self.state == "failed"
        any_active = any(run.active for run in self.runs)
        # A state that a user set need not match the run.
        comparable = statuses and not any_active and not scenario.state_set_by_user
        not_canceled = any(
            status == "Success" and expected_status == "Cancelled"
            for status, expected_status in zip(statuses, expected, strict=False)
        )
        checks = {
            "task hangs": not succeeded and not failed,
            "orphaned run": any_active or not_canceled,
            "canceled run restarted": len(statuses) > len(expected) and expected[-1] == "Cancelled",
            "duplicate run": len(statuses) > len(expected) and expected[-1] != "Cancelled",
            "missing run": len(statuses) < len(expected),
            "failed task for a successful run": comparable and failed and statuses[-1] == "Success",
            "successful task for a failed run": comparable and succeeded and statuses[-1] != "Success",
        }
        found = tuple(violation for violation, is_violated in checks.items() if is_violated)
        as_expected = statuses == expected and self.state == scenario.expected_state
        return found or (() if as_expected else ("unexpected result",))

    def missing_log(self, scenario: Scenario) -> list[str]:
        """Return the expected log patterns that match nothing."""
        return [pattern for pattern in scenario.expected_log if not re.search(pattern, self.log, re.DOTALL)]
