"""Random task lifecycles: no duplicate run, none lost, none canceled without a reason, no wrong outcome."""

import os

import pytest

from tests.simulation.lifecycle import Lifecycle, simulated

# `make chaos` sets how many: then a worker is also killed at each line, otherwise at each third one.
CHOSEN = os.environ.get("RANDOM_LIFECYCLES")
LIFECYCLES, PARTS, LINES = int(CHOSEN or 300), 4, 1 if CHOSEN else 3


def violations(seed: int) -> str:
    """Run a lifecycle; return its story if there was a violation."""
    with simulated(Lifecycle(seed)) as lifecycle:
        lifecycle.live()
    if not lifecycle.oracle.violations:
        return ""
    return "\n".join([f"seed {seed}: {lifecycle.arguments}", *lifecycle.oracle.story])


@pytest.mark.parametrize("part", range(PARTS))
def test_random_lifecycles_follow_the_rules(part: int) -> None:
    for seed in range(part, LIFECYCLES, PARTS):
        assert not (story := violations(seed)), story


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_worker_killed_at_any_line_starts_one_run(deferrable: bool) -> None:
    line = 0
    while True:
        line += LINES
        with simulated(Lifecycle(line, calm=True, deferrable=deferrable)) as lifecycle:
            lifecycle.interrupts = [("kill", line, 0)]
            lifecycle.live()
        story = "\n".join([f"line {line}", *lifecycle.oracle.story])
        assert not lifecycle.oracle.violations, story
        assert lifecycle.state == "success", story
        assert len(lifecycle.oracle.own()) == 1, story
        if not any(" kill: " in one for one in lifecycle.oracle.story):
            break
    assert line > 50
