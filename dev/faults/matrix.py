"""Plays all scenarios in one stack: side by side, then those that meet every task that waits."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dev.faults.case import Case
from dev.faults.facts import Facts
from dev.faults.scenarios import Scenario
from dev.faults.stack import Stack

# More than two cores can do at once, but each waits most of its time.
SIDE_BY_SIDE = 5

Matrix = dict[tuple[str, str], Facts]


def play(
    scenarios: Sequence[Scenario],
    variants: Sequence[str],
    directory: Path,
    seen: Callable[[Case, Facts], None] = lambda case, facts: None,
) -> Matrix:
    """Play scenarios; return what was seen, by the scenario's name and the variant.

    :param seen: is told of each case that is over.
    """
    matrix: Matrix = {}

    def play_one(case: Case) -> None:
        facts = matrix[case.scenario.name, case.variant] = case.play()
        seen(case, facts)

    with Stack(directory).up() as stack:
        cases = [Case(scenario, variant, stack) for scenario in scenarios for variant in variants]
        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            list(pool.map(play_one, [case for case in cases if not case.scenario.alone]))
        for case in cases:
            if case.scenario.alone:
                play_one(case)
    return matrix
