"""`make run`: brings the local stack up, lets Airflow run the main Dag twice, and says what came of it.

First the job is idle, and the Dag runs it. Then a run is active, started elsewhere, and the Dag starts none.
"""

import contextlib

import httpx

from scripts.command import main
from scripts.demonstration import Demonstration
from scripts.progress import Progress
from scripts.report import show
from scripts.settings import DAG_ID, Settings
from scripts.stack import airflow, check_connection, local_dbt_cloud


def run(settings: Settings, progress: Progress) -> None:
    """Bring all up, run the Dag in both situations, show a table, stop all.

    :raises Failure: something is missing, or came out otherwise than it must.
    """
    with local_dbt_cloud(settings, progress) if settings.is_local else contextlib.nullcontext():
        dbt_cloud = check_connection(settings)
        # A Dag that is due would run as soon as it is unpaused: here it runs when we say so.
        with airflow(settings, progress, schedule=False) as api:
            was_paused = api.get_dag(DAG_ID)["is_paused"]
            api.pause(DAG_ID, False)
            demonstration = Demonstration(settings, api, dbt_cloud, progress)
            try:
                outcomes = [demonstration.idle_job_is_run()]
                if settings.is_local:
                    outcomes.append(demonstration.active_job_is_left_alone())
            finally:
                # If Airflow itself has died, its own failure is the one to report.
                with contextlib.suppress(httpx.HTTPError):
                    api.pause(DAG_ID, was_paused)
        demonstration.wait_until_idle()
        show(progress, outcomes, dbt_cloud)
    if not settings.is_local:
        progress.line("What the Dag does while the job is running is shown on the local dbt Cloud only.")
    progress.line(f"Done in {progress.seconds:.0f} seconds. `make start` brings these pages up.")


if __name__ == "__main__":
    main("make run", __doc__, run)
