"""Benchmark many tasks that are deferred at once in an Airflow on PostgreSQL, and whose runs end together."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from dev.benchmark.context import BenchmarkContext
from dev.benchmark.dbt_cloud import local_dbt_cloud
from dev.benchmark.result import OURS, PROVIDER_DEFAULT, BenchmarkResult, Row, Target
from dev.chaos.database import Database
from dev.chaos.requirements import BIN, find_servers
from dev.temporary_stack import AIRFLOW_ENVIRONMENT, TemporaryDbtCloud, settings_in
from scripts.airflow_api import AirflowApi
from scripts.exceptions import UserError
from scripts.processes import running, wait_until
from scripts.settings import PROJECT, Settings
from scripts.stack import airflow_environment

DAGS = Path(__file__).parent / "workloads" / "deferred_dags"
DAG_IDS = {"deferred_ours": OURS, "deferred_provider": PROVIDER_DEFAULT}
TASKS, QUICK_TASKS = 200, 3
# Seconds to measure while all tasks wait; timeouts to start Airflow, and to defer or end all tasks.
WINDOW, START_TIMEOUT, TASKS_TIMEOUT = 60, 240, 1200

METHOD = (
    "A real Airflow on PostgreSQL, with one triggerer, runs a Dag with {tasks} mapped tasks, first with our "
    "operator, then with the provider's, both deferrable and with their default intervals of 2 and 60 "
    "seconds. When all are deferred, they wait for {window} seconds more; then all their runs end within a "
    "second or two. *Noticed*: until no task is deferred any more. *Ended*: until all tasks have resumed and "
    "ended; each needs its own process, so this depends on the machine. CPU is what the triggerer uses "
    "from the moment when all are deferred until none is, memory its peak in that time. Connections are "
    "those of all Airflow processes to the database, at most."
)


@dataclass
class Cost:
    """The cost of waiting, and the time after the end of the runs; in seconds and megabytes."""

    noticed: float
    ended: float
    cpu: float
    memory: float
    connections: int


def measure(context: BenchmarkContext) -> BenchmarkResult:
    """Run both Dags, one after the other.

    :raises UserError: A server is not installed, Airflow did not start, or a task did not end.
    """
    tasks, window = (QUICK_TASKS, 5) if context.quick else (TASKS, WINDOW)
    settings = settings_in(context.directory / "deferred")
    costs: dict[str, Cost] = {}
    with context.progress.status("Starting PostgreSQL, the local dbt Cloud and Airflow") as status:
        with _database(settings) as database, local_dbt_cloud(settings) as dbt_cloud:
            dbt_cloud.pause()
            with _airflow(settings, database, tasks) as (api, triggerer):
                for dag_id, column in DAG_IDS.items():
                    status.update(f"Deferring {tasks} tasks: {column}")
                    costs[column] = _measure_dag(dag_id, tasks, window, api, database, triggerer, dbt_cloud)
                    context.progress.done(
                        f"{tasks} tasks, {column}: noticed in {costs[column].noticed:.1f} s"
                    )
    return _result(costs, tasks, window)


@contextlib.contextmanager
def _database(settings: Settings) -> Iterator[Database]:
    database = Database(find_servers(), settings.data_dir.with_name("postgres"))
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(database.delete)
        cleanup.callback(database.stop)
        database.create()
        yield database


@contextlib.contextmanager
def _airflow(
    settings: Settings, database: Database, tasks: int
) -> Iterator[tuple[AirflowApi, psutil.Process]]:
    """Run Airflow while the block runs; yields its API and its triggerer."""
    environment = airflow_environment(settings, DAGS)
    environment |= AIRFLOW_ENVIRONMENT | {
        "PATH": f"{BIN}:{environment['PATH']}",
        "DEFERRED_TASKS": str(tasks),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(DAGS / "no_plugins"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database.address,
    }
    log = settings.airflow_home / "standalone.log"
    api = AirflowApi(settings.airflow_url)
    with running([str(BIN / "airflow"), "standalone"], environment, PROJECT, log) as process:
        wait_until(api.is_healthy, "Airflow", process, log, START_TIMEOUT)
        api.log_in()
        wait_until(lambda: all(map(api.has_dag, DAG_IDS)), "The Dags", process, log, START_TIMEOUT)
        children = psutil.Process(process.pid).children(recursive=True)
        yield api, next(child for child in children if "triggerer" in child.cmdline())


def _measure_dag(
    dag_id: str,
    tasks: int,
    window: float,
    api: AirflowApi,
    database: Database,
    triggerer: psutil.Process,
    dbt_cloud: TemporaryDbtCloud,
) -> Cost:
    def in_state(state: str) -> int:
        query = f"select count(*) from task_instance where dag_id = '{dag_id}' and state = '{state}'"  # noqa: S608 - constants
        return int(database.query(query))

    def has_failed() -> bool:
        return in_state("failed") + in_state("up_for_retry") > 0

    def wait(condition: str, expected: int) -> None:
        deadline = time.monotonic() + TASKS_TIMEOUT
        while (found := in_state(condition)) != expected:
            if has_failed() or time.monotonic() > deadline:
                raise UserError(f"{dag_id}: {found} of {expected} tasks are {condition}.")
            usage.sample()
            time.sleep(0.5)

    usage = _Usage(triggerer, database)
    api.trigger_dag(dag_id, "benchmark")
    wait("deferred", tasks)
    usage = _Usage(triggerer, database)
    for _ in range(round(window)):
        usage.sample()
        time.sleep(1)
    dbt_cloud.end_active_runs()
    ended_at = time.monotonic()
    wait("deferred", 0)
    noticed, cpu = time.monotonic() - ended_at, usage.cpu()
    wait("success", tasks)
    return Cost(noticed, time.monotonic() - ended_at, cpu, usage.memory, usage.connections)


class _Usage:
    """CPU seconds since the beginning, and peaks of memory and connections."""

    def __init__(self, triggerer: psutil.Process, database: Database) -> None:
        self._triggerer, self._database = triggerer, database
        self._cpu_before = self._cpu_seconds()
        self.memory, self.connections = 0.0, 0

    def sample(self) -> None:
        """Update the peaks of memory and connections."""
        self.memory = max(self.memory, sum(one.memory_info().rss for one in self._processes()) / 1e6)
        count = int(self._database.query("select count(*) from pg_stat_activity where datname = 'airflow'"))
        # Without the connection of this query.
        self.connections = max(self.connections, count - 1)

    def cpu(self) -> float:
        """Return the CPU seconds since the beginning."""
        return self._cpu_seconds() - self._cpu_before

    def _processes(self) -> list[psutil.Process]:
        return [self._triggerer, *self._triggerer.children(recursive=True)]

    def _cpu_seconds(self) -> float:
        times = [process.cpu_times() for process in self._processes()]
        return sum(one.user + one.system for one in times)


def _result(costs: dict[str, Cost], tasks: int, window: float) -> BenchmarkResult:
    measures = {
        "seconds until the end is noticed": ("noticed", "{:,.1f}"),
        "seconds until all have ended": ("ended", "{:,.0f}"),
        "CPU seconds of the triggerer": ("cpu", "{:,.1f}"),
        "memory of the triggerer, MB": ("memory", "{:,.0f}"),
        "database connections": ("connections", "{:,.0f}"),
    }
    rows = [
        Row(
            f"{tasks} deferred tasks: {label}",
            {column: float(getattr(cost, name)) for column, cost in costs.items()},
            number_format,
        )
        for label, (name, number_format) in measures.items()
    ]
    ratio = costs[PROVIDER_DEFAULT].noticed / costs[OURS].noticed
    target = Target("all ends noticed sooner than by the provider", f"{ratio:.1f} times", ratio > 1)
    title = "Many deferred tasks whose runs end together"
    return BenchmarkResult(
        "deferred", title, METHOD.format(tasks=tasks, window=round(window)), rows, [target]
    )
