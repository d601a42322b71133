"""Render the outcomes as docs/chaos.md."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from dev.benchmark.environment import environment_summary
from dev.chaos import stack
from dev.chaos.experiment import ORPHAN_TIMEOUT, SETTLE_TIMEOUT
from dev.chaos.faults import FAULTS, Injection
from dev.chaos.foreign_runs import ForeignResult
from dev.chaos.outcome import VIOLATIONS, Outcome
from scripts.settings import PROJECT

PAGE = PROJECT / "docs" / "chaos.md"
PLOT = PAGE.with_suffix(".svg")
PASSED = "✓"

INTRO = """\
# Chaos test results

A real Airflow on PostgreSQL, with the CeleryExecutor, Redis, two workers and two triggerers, runs jobs with
this project's `DbtCloudRunJobOperator` while its processes are killed, frozen and restarted, and users mark
and clear tasks. Meanwhile a Dag reacts to runs that are started in dbt Cloud. No task may start a second dbt
run, leave one behind, or report another outcome than dbt Cloud's; only a user's decision may end a healthy
run; and the Dag must handle each run that was started elsewhere once.
"""
METHOD = """\
## Method

`make chaos` starts all processes on this machine, on free ports and in temporary directories. About sixty
percent of the Dag runs wait in the triggerer, the others in a worker (`deferrable=False`). The jobs run in
the [local dbt Cloud](../local-dbt-cloud/README.md), but without dbt: the command starts each run and ends it
after a few seconds with success, an error or a cancellation. Airflow considers a task dead after {task}
seconds without a heartbeat, a triggerer after {triggerer} and a scheduler after {scheduler}; a freeze lasts
up to two and a half times as long. Processes that exit are started again.

All facts about runs come from the control API of the local dbt Cloud. The runs of a Dag run are found by
their `schema_override`, not by the operator's own tag.

| column | counts |
|---|---|
| duplicate run | runs that started while another one of the same task was active, or after one that had \
succeeded or was canceled in dbt Cloud, unless the task was cleared in between |
| orphaned run | runs that were still active {orphan} seconds after their task had ended |
| wrong verdict | tasks whose state differs from the outcome of their last run, or from a user's mark; \
cleared tasks that succeeded without a new run |
| stuck task | tasks that had not ended {settle} seconds after the last Dag run started |
| healthy run canceled | runs that the operator canceled although no user had marked or cleared the task |
| missed run | runs started in dbt Cloud to which no Dag reacted |
| run handled twice | runs started in dbt Cloud that the Dag handled more than once |

Faults and decisions are drawn from a seed; what they hit depends on the machine's timing. A task is marked,
or cleared while it holds a worker, only if the process that runs it is alive, and no fault follows until its
run is canceled: when the machine that would cancel the run is gone, Airflow calls nobody (see
[limits](how-it-works.md#limits)). Clears of waiting tasks come at any time, because the next try cancels the
run of the earlier one.
"""


@dataclass(frozen=True)
class Result:
    """What the page shows.

    :param restarts: How often a process exited by itself.
    :param foreign: How often a Dag handled the runs that were started in dbt Cloud.
    :param lifecycles: Number of randomized task lifecycles that passed before; 0 if none were run.
    :param initial_load: CPU load before the experiment, from 0 to 1.
    """

    outcomes: list[Outcome]
    injections: Sequence[Injection]
    restarts: int
    foreign: ForeignResult
    seed: int
    seconds: float
    lifecycles: int
    initial_load: float

    @property
    def violations(self) -> Counter[str]:
        """Numbers of violations by kind."""
        of_tasks = Counter(kind for outcome in self.outcomes for kind in outcome.violations())
        return of_tasks + Counter(self.foreign.violations())

    @property
    def summary(self) -> str:
        """The numbers of violations as a Markdown table."""
        cells = [f"{self.violations[kind]}" for kind in VIOLATIONS]
        head = f"| {' | '.join(VIOLATIONS)} |\n|{'---|' * len(VIOLATIONS)}\n"
        return f"{head}| {' | '.join(f'**{cell}**' for cell in cells)} |\n"


def render_page(result: Result) -> str:
    """Return the page as Markdown."""
    method = METHOD.format(
        task=stack.TASK_HEARTBEAT_TIMEOUT,
        triggerer=stack.TRIGGERER_HEARTBEAT_TIMEOUT,
        scheduler=stack.SCHEDULER_HEARTBEAT_TIMEOUT,
        orphan=ORPHAN_TIMEOUT,
        settle=SETTLE_TIMEOUT,
    )
    sections = [
        INTRO,
        result.summary,
        f"![When faults were injected, and when dbt runs were active]({PLOT.name})\n",
        _render_facts(result),
        _render_faults(result),
        method,
        _render_violations(result),
        f"This page is generated: `make chaos` writes it. {environment_summary(result.initial_load)}\n",
    ]
    return "\n".join(filter(None, sections))


def _render_facts(result: Result) -> str:
    decisions = Counter(one.kind for outcome in result.outcomes for one in outcome.decisions)
    states = Counter(outcome.state for outcome in result.outcomes)
    facts = {
        "Dag runs": f"{len(result.outcomes)}: {states['success']} succeeded, {states['failed']} failed",
        "runs started in dbt Cloud": f"{len(result.foreign.run_ids)}, each an event of a watched asset",
        "dbt runs": str(sum(len(outcome.runs) for outcome in result.outcomes)),
        "faults": str(len(result.injections)),
        "processes that exited by themselves and were restarted": str(result.restarts),
        "users' decisions": f"{decisions['clear']} clears, {decisions['failed']} tasks marked failed, "
        f"{decisions['success']} marked successful",
        "duration, seed": f"{result.seconds / 60:.0f} minutes, {result.seed}",
    }
    if result.lifecycles:
        facts["randomized task lifecycles before, without Airflow"] = f"{result.lifecycles:,}, all passed"
    return "| | |\n|---|---|\n" + "".join(f"| {name} | {value} |\n" for name, value in facts.items())


def _render_faults(result: Result) -> str:
    counts = Counter(injection.title for injection in result.injections)
    rows = "".join(f"| {fault.title} | {counts[fault.title]} |\n" for fault in FAULTS)
    return f"## Faults\n\n| fault | injected |\n|---|---|\n{rows}"


def _render_violations(result: Result) -> str:
    bad = [outcome for outcome in result.outcomes if outcome.violations()]
    if not bad:
        return ""
    rows = "".join(f"| {' | '.join(describe(outcome))} |\n" for outcome in bad)
    head = "| Dag run | violations | task | dbt runs | decisions |\n|---|---|---|---|---|\n"
    return f"## Violations\n\n{head}{rows}"


def describe(outcome: Outcome) -> list[str]:
    """Return name, violations, state, dbt runs and decisions of a Dag run, as short texts."""
    runs = [f"{run.id} {run.status}{f' ({run.message})' if run.message else ''}" for run in outcome.runs]
    decisions = [f"{one.kind} at {one.at:%H:%M:%S}" for one in outcome.decisions]
    return [
        f"{outcome.dag_id} {outcome.run_id}",
        ", ".join(outcome.violations()),
        str(outcome.state),
        "; ".join(runs),
        "; ".join(decisions),
    ]
