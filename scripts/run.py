"""`make run`: start the local dbt Cloud and Airflow, run the main Dag twice, print the results, and stop.

In the first Dag run the job is idle, and the Dag runs it. In the second one the job is running, and the Dag
skips it.
"""

import contextlib

import httpx

from scripts.cli import main
from scripts.demo import Demo
from scripts.lock import locked
from scripts.progress import Progress
from scripts.report import print_summary
from scripts.settings import DAG_ID, Settings
from scripts.stack import airflow, check_connection, local_dbt_cloud


def run(settings: Settings, progress: Progress) -> None:
    """Run the demo. A real account gets only the first Dag run.

    :raises UserError: A command already runs, a service did not start, or a Dag run did not end as expected.
    """
    with (
        locked(settings.airflow_home, "make run", settings.airflow_url),
        local_dbt_cloud(settings, progress) if settings.is_local else contextlib.nullcontext(),
    ):
        dbt_cloud = check_connection(settings)
        # Without the schedule: a Dag that is due would start as soon as it is unpaused.
        with airflow(settings, progress, schedule=False) as api:
            was_paused = api.is_paused(DAG_ID)
            api.pause(DAG_ID, False)
            demo = Demo(settings, api, dbt_cloud, progress)
            try:
                results = [demo.run_idle_job()]
                if settings.is_local:
                    results.append(demo.skip_active_job())
            finally:
                # If Airflow is down, the first error is the one to report.
                with contextlib.suppress(httpx.HTTPError):
                    api.pause(DAG_ID, was_paused)
        demo.wait_until_idle()
        print_summary(progress, results, dbt_cloud)
    if not settings.is_local:
        progress.print(
            "Skipped: the Dag run with an active job, which would start another run in your account."
        )
    progress.print(f"Done in {progress.seconds:.0f} seconds. Run `make start` to open these pages.")


if __name__ == "__main__":
    main("make run", __doc__, run)
