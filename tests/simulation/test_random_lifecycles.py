"""Random task lifecycles: no duplicate run, none lost, none canceled without a reason, no wrong outcome."""

import os

import pytest

from tests.simulation.lifecycle import Lifecycle, simulated

LIFECYCLES, PARTS = int(os.environ.get("RANDOM_LIFECYCLES", 300)), 4


def violations(seed: int) -> str:
    """Live a lifecycle; return its story if something was wrong."""
    with simulated(Lifecycle(seed)) as lifecycle:
        lifecycle.live()
    if not lifecycle.oracle.violations:
        return ""
    return "\n".join([f"seed {seed}: {lifecycle.arguments}", *lifecycle.oracle.story])


@pytest.mark.parametrize("part", range(PARTS))
def test_random_lifecycles_follow_the_rules(part: int) -> None:
    for seed in range(part, LIFECYCLES, PARTS):
        assert not (story := violations(seed)), story
