"""Run every scenario with every variant in one stack."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dev.faults.observation import Observation
from dev.faults.scenarios import Scenario
from dev.faults.stack import Stack
from dev.faults.trial import Trial

# Also on two cores: a trial waits most of the time.
MAX_PARALLEL_TRIALS = 5

# By scenario name and variant.
Matrix = dict[tuple[str, str], Observation]


def run_matrix(
    scenarios: Sequence[Scenario],
    variants: Sequence[str],
    directory: Path,
    on_result: Callable[[Trial, Observation], None] = lambda trial, observation: None,
) -> Matrix:
    """Run the trials, in parallel unless their scenarios are exclusive.

    :param directory: Directory for the data and logs of the stack.
    :param on_result: Called after each trial.
    """
    matrix: Matrix = {}

    def run(trial: Trial) -> None:
        observation = matrix[trial.scenario.name, trial.variant] = trial.run()
        on_result(trial, observation)

    with Stack(directory).start() as stack:
        trials = [Trial(scenario, variant, stack) for scenario in scenarios for variant in variants]
        with ThreadPoolExecutor(MAX_PARALLEL_TRIALS) as pool:
            list(pool.map(run, [trial for trial in trials if not trial.scenario.exclusive]))
        for trial in trials:
            if trial.scenario.exclusive:
                run(trial)
    return matrix
