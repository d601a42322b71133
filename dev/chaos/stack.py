"""Run an Airflow of many processes, its database and broker, and the local dbt Cloud."""

import contextlib
import secrets
import subprocess
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from dev import temporary_stack
from dev.airflow_user_api import AirflowUserApi
from dev.chaos.database import Database
from dev.chaos.foreign_runs import HANDLED_FILE
from dev.chaos.foreign_runs import JOB_ID as FOREIGN_JOB_ID
from dev.chaos.requirements import BIN, find_servers
from dev.chaos.service import Service
from dev.temporary_stack import TemporaryDbtCloud
from scripts.exceptions import UserError
from scripts.processes import free_port, wait_until
from scripts.progress import Progress
from scripts.settings import PROJECT
from scripts.stack import airflow_environment

DIRECTORY = Path(__file__).parent
DAGS = DIRECTORY / "dags"
DAG_IDS = ("chaos_deferrable", "chaos_in_worker")
EVENTS_DAG_ID = "chaos_events"
# dbt executes only runs that start in the moment between a restart and the pause of the queue.
DBT_PROJECT = PROJECT / "dev" / "faults" / "dbt_project"
JOB_IDS = range(1, 9)
START_TIMEOUT = 240
WORKER_CONCURRENCY = 8

# Seconds after which Airflow considers a silent process dead.
TASK_HEARTBEAT_TIMEOUT = 12
TRIGGERER_HEARTBEAT_TIMEOUT = 8
SCHEDULER_HEARTBEAT_TIMEOUT = 10
AIRFLOW_ENVIRONMENT = temporary_stack.AIRFLOW_ENVIRONMENT | {
    "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
    "AIRFLOW__CORE__PARALLELISM": "16",
    # Only what is under test.
    "AIRFLOW__CORE__PLUGINS_FOLDER": str(DIRECTORY / "no_plugins"),
    "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": "2",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": str(SCHEDULER_HEARTBEAT_TIMEOUT),
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": str(TASK_HEARTBEAT_TIMEOUT),
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": str(TRIGGERER_HEARTBEAT_TIMEOUT),
    # A task in the queue of a killed worker is sent again, as often as that happens.
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "20",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "5",
    "AIRFLOW__SCHEDULER__NUM_STUCK_IN_QUEUED_RETRIES": "100",
}


class Stack:
    """All processes. The clients exist while ``start`` is entered.

    :param directory: Directory for data and logs.
    """

    dbt_cloud: TemporaryDbtCloud
    airflow_api: AirflowUserApi
    database: Database

    def __init__(self, directory: Path) -> None:
        self.settings = temporary_stack.settings_in(directory)
        self.logs = directory / "processes"
        self.handled_file = directory / "handled_runs.txt"
        self.services: list[Service] = []
        self._dbt_cloud_process = contextlib.ExitStack()

    @contextlib.contextmanager
    def start(self, progress: Progress) -> Iterator[Self]:
        """Run everything while the block runs.

        :raises UserError: A server is not installed, or a process did not start.
        """
        servers = find_servers()
        self.logs.mkdir(parents=True)
        with contextlib.ExitStack() as cleanup:
            with progress.status("Starting PostgreSQL, Redis and the local dbt Cloud"):
                self.database = Database(servers, self.logs)
                cleanup.callback(self.database.delete)
                cleanup.callback(self.database.stop)
                self.database.create()
                redis = Service("redis", self._redis_command(servers), self.settings.environment, self.logs)
                cleanup.callback(redis.stop)
                redis.start()
                cleanup.callback(self._dbt_cloud_process.close)
                self.start_dbt_cloud()
            with progress.status("Starting Airflow"):
                self._create_services()
                self._migrate_database()
                for service in self.services:
                    cleanup.callback(service.stop)
                    service.start()
                self._wait_until_ready()
            progress.done(f"{len(self.services)} processes of Airflow ready at {self.settings.airflow_url}")
            yield self
            # Frozen processes do not react to the signals that end them.
            for service in self.services:
                service.thaw()

    def start_dbt_cloud(self) -> None:
        """Start the local dbt Cloud, whose runs only the control API starts and ends."""
        jobs = {job_id: f"Job {job_id}" for job_id in (*JOB_IDS, FOREIGN_JOB_ID)}
        account = temporary_stack.account("Chaos", DBT_PROJECT, "dbt parse", jobs)
        dbt_cloud = temporary_stack.local_dbt_cloud(self.settings, account)
        self.dbt_cloud = self._dbt_cloud_process.enter_context(dbt_cloud)
        self.dbt_cloud.pause()

    def kill_dbt_cloud(self) -> None:
        """Kill the local dbt Cloud."""
        self.dbt_cloud.process.kill()
        self.dbt_cloud.process.wait()
        self._dbt_cloud_process.close()

    def restart_exited(self) -> list[str]:
        """Start the processes again that have exited, as a cluster does; return their names."""
        exited = [service for service in self.services if not service.is_alive and not service.killed]
        for service in exited:
            service.stop()
            service.start()
        return [service.name for service in exited]

    def named(self, prefix: str) -> list[Service]:
        """Return the services of a kind, such as ``worker``, that are neither frozen nor dead."""
        return [
            service
            for service in self.services
            if service.name.startswith(prefix) and service.is_alive and not service.frozen
        ]

    def _redis_command(self, servers: dict[str, str]) -> list[str]:
        self._redis_port = free_port()
        return [
            servers["redis-server"], "--port", str(self._redis_port), "--bind", "127.0.0.1",
            "--save", "", "--dir", str(self.logs),
        ]  # fmt: skip

    def _create_services(self) -> None:
        worker = ("celery", "worker", "--concurrency", str(WORKER_CONCURRENCY), "--skip-serve-logs")
        commands: dict[str, tuple[str, ...]] = {
            "api-server": ("api-server",),
            "scheduler": ("scheduler", "--skip-serve-logs"),
            "dag-processor": ("dag-processor",),
            "triggerer-1": ("triggerer", "--skip-serve-logs"),
            "triggerer-2": ("triggerer", "--skip-serve-logs"),
        }
        for number in (1, 2):
            name = f"worker-{number}"
            pid_file = ("--pid", str(self.logs / f"{name}.pid"))
            commands[name] = (*worker, "--celery-hostname", name, *pid_file)
        self._environment = self._airflow_environment()
        for name, command in commands.items():
            arguments = [str(BIN / "airflow"), *command]
            self.services.append(Service(name, arguments, self._environment, self.logs))

    def _airflow_environment(self) -> dict[str, str]:
        environment = airflow_environment(self.settings, DAGS)
        return environment | AIRFLOW_ENVIRONMENT | {
            "PATH": f"{BIN}:{environment['PATH']}",
            HANDLED_FILE: str(self.handled_file),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": self.database.address,
            "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{self.database.address}",
            "AIRFLOW__CELERY__BROKER_URL": f"redis://127.0.0.1:{self._redis_port}/0",
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "AIRFLOW__API__SECRET_KEY": secrets.token_hex(32),
            "AIRFLOW__CORE__FERNET_KEY": urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        }  # fmt: skip

    def _migrate_database(self) -> None:
        command = [str(BIN / "airflow"), "db", "migrate"]
        log = self.logs / "migrate.log"
        with log.open("wb") as output:
            result = subprocess.run(
                command, cwd=PROJECT, env=self._environment, stdout=output, stderr=output, check=False
            )
        if result.returncode:
            raise UserError(f"airflow db migrate failed. See {log}")

    def _wait_until_ready(self) -> None:
        api = AirflowUserApi(self.settings.airflow_url)
        api_server = self.services[0]

        def is_parsed() -> bool:
            if errors := api.get_import_errors():
                raise UserError(f"Cannot import a Dag file: {errors[0]}")
            return all(api.has_dag(dag_id) for dag_id in (*DAG_IDS, EVENTS_DAG_ID))

        def is_healthy() -> bool:
            for service in self.services:
                if not service.is_alive:
                    raise UserError(f"Airflow's {service.name} exited. See {service.log}")
            return api.is_healthy()

        wait_until(is_healthy, "Airflow", api_server.process, api_server.log, START_TIMEOUT)
        api.log_in()
        wait_until(is_parsed, "The Dags", api_server.process, api_server.log, START_TIMEOUT)
        self.airflow_api = api
