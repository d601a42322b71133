"""Programs that wait for runs with the defaults of our trigger, the provider and other dbt Cloud clients.

Each takes the ID of the first run, the number of runs, and how many to wait for at a time. It prints the ID
of each run and the time when it noticed the run's end. It reads the connection from Airflow's environment.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from dev.benchmark.result import DAGSTER, DBTC, OURS, PREFECT, PROVIDER_DEFAULT

ENVIRONMENTS = Path(sys.prefix).parent / "environments"

PRELUDE = """
import asyncio, json, os, sys, time
from concurrent.futures import ThreadPoolExecutor

connection = json.loads(os.environ["AIRFLOW_CONN_DBT_CONN"])
host, token = connection["host"], connection["password"]
first, count, at_a_time = map(int, sys.argv[1:])
run_ids = iter(range(first, first + count))

def report(run_id):
    # One write: threads must not mix their lines.
    sys.stdout.write(f"{run_id} {time.time()}\\n")
    sys.stdout.flush()

def wait_in_threads(wait):
    def work(_):
        for run_id in run_ids:
            wait(run_id)
            report(run_id)
    with ThreadPoolExecutor(at_a_time) as pool:
        list(pool.map(work, range(at_a_time)))

async def wait_in_tasks(wait):
    async def work():
        for run_id in run_ids:
            await wait(run_id)
            report(run_id)
    await asyncio.gather(*(work() for _ in range(at_a_time)))
"""
AIRFLOW = """
from {module} import DbtCloudRunJobTrigger

async def wait(run_id):
    trigger = DbtCloudRunJobTrigger(
        conn_id="dbt_conn", run_id=run_id, end_time=time.time() + 3600, poll_interval={interval},
        account_id=1, hook_params={{}},
    )
    async for event in trigger.run():
        assert event.payload["status"] == "success", event.payload
        return

asyncio.run(wait_in_tasks(wait))
"""
DAGSTER_PROGRAM = """
from dagster_dbt.cloud_v2.resources import DbtCloudCredentials, DbtCloudWorkspace

credentials = DbtCloudCredentials(account_id=1, token=token, access_url=f"https://{host}")
workspace = DbtCloudWorkspace(credentials=credentials, project_id=1, environment_id=1)
client = workspace.get_client()
wait_in_threads(lambda run_id: client.poll_run(run_id, poll_timeout=3600))
"""
# Calls ``.fn`` to avoid a flow for each run, which would cost requests to Prefect's own API.
PREFECT_PROGRAM = """
from prefect import flow
from prefect_dbt.cloud import DbtCloudCredentials
from prefect_dbt.cloud.runs import wait_for_dbt_cloud_job_run

credentials = DbtCloudCredentials(api_key=token, account_id=1, domain=host)

@flow
async def wait_for_all():
    await wait_in_tasks(
        lambda run_id: wait_for_dbt_cloud_job_run.fn(run_id, credentials, max_wait_seconds=3600)
    )

asyncio.run(wait_for_all())
"""
# trigger_job waits with this method.
DBTC_PROGRAM = """
from dbtc import dbtCloudClient

cloud = dbtCloudClient(service_token=token, host=host).cloud
wait_in_threads(lambda run_id: cloud._poll_for_completion({"data": {"id": run_id, "account_id": 1}}))
"""


@dataclass(frozen=True)
class Client:
    """A client of dbt Cloud.

    :param column: Column of the table.
    :param interval: Its default seconds between two polls of a run.
    :param program: What it executes.
    :param environment: Name of its virtual environment; this one if empty.
    :param max_runs: Maximum number of runs to measure; with more, the machine would be the limit.
    """

    column: str
    interval: int
    program: str
    environment: str = ""
    max_runs: int = 100

    @property
    def python(self) -> Path:
        """The interpreter in its environment."""
        return (
            ENVIRONMENTS / self.environment / "bin" / "python" if self.environment else Path(sys.executable)
        )


PROVIDER_MODULE = "airflow.providers.dbt.cloud.triggers.dbt"
CLIENTS = (
    Client(OURS, 2, AIRFLOW.format(module="include.dbt_cloud.trigger", interval=2), max_runs=1000),
    Client(PROVIDER_DEFAULT, 60, AIRFLOW.format(module=PROVIDER_MODULE, interval=60)),
    Client(DAGSTER, 1, DAGSTER_PROGRAM, "dagster"),
    Client(PREFECT, 10, PREFECT_PROGRAM, "prefect"),
    Client(DBTC, 10, DBTC_PROGRAM, "dbtc"),
)
