"""Run every scenario with every variant in one stack."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Thread

from dev.faults.observation import Observation
from dev.faults.scenarios import Scenario
from dev.faults.stack import Stack
from dev.faults.trial import Trial

# Two cores are enough for these, because a trial mostly waits.
MAX_PARALLEL_TRIALS = 5
# Seconds. More than the longest trial takes on a busy machine.
TRIAL_TIMEOUT = 420

# By scenario name and variant.
Matrix = dict[tuple[str, str], Observation]


def run_matrix(
    scenarios: Sequence[Scenario],
    variants: Sequence[str],
    directory: Path,
    on_result: Callable[[Trial, Observation], None] = lambda trial, observation: None,
) -> Matrix:
    """Run the trials, in parallel unless they are exclusive.

    :param directory: Directory for the data and logs of the stack.
    :param on_result: Called after each trial.
    """
    matrix: Matrix = {}

    def run(trial: Trial) -> None:
        observation = matrix[trial.scenario.name, trial.variant] = run_with_timeout(trial)
        on_result(trial, observation)

    with Stack(directory).start() as stack:
        trials = [Trial(scenario, variant, stack) for scenario in scenarios for variant in variants]
        with ThreadPoolExecutor(MAX_PARALLEL_TRIALS) as pool:
            list(pool.map(run, [trial for trial in trials if not trial.is_exclusive]))
        for trial in trials:
            if trial.is_exclusive:
                run(trial)
    return matrix


def run_with_timeout(trial: Trial) -> Observation:
    """Run a trial; one that hangs is abandoned, and does not stop the others."""
    result: Future[Observation] = Future()
    # The threads of a pool would keep the process from ending.
    Thread(target=lambda: result.set_result(trial.run()), name=trial.dag_id, daemon=True).start()
    try:
        return result.result(TRIAL_TIMEOUT)
    except TimeoutError:
        return Observation.of_error(f"{trial.dag_id}: still running after {TRIAL_TIMEOUT} seconds")
