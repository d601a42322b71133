"""`make start`: the local dbt Cloud and an Airflow with its UI, until Ctrl-C."""

import contextlib
import time

from scripts.command import main
from scripts.failure import Failure
from scripts.progress import Progress
from scripts.settings import DAG_ID, Settings
from scripts.stack import airflow, check_connection, local_dbt_cloud


def start(settings: Settings, progress: Progress) -> None:
    """Bring all up, print the links, and wait.

    :raises Failure: something does not start; says why.
    """
    with contextlib.ExitStack() as stack:
        dbt_cloud_page = f"https://{settings.connection.host}"
        if settings.is_local:
            stack.enter_context(local_dbt_cloud(settings, progress))
            dbt_cloud_page = f"http://localhost:{settings.pages_port}"
        check_connection(settings)
        api = stack.enter_context(airflow(settings, progress))
        progress.line(f"Airflow    {settings.airflow_url}/dags/{DAG_ID}")
        progress.line(f"dbt Cloud  {dbt_cloud_page}")
        progress.line("Ctrl-C stops what was started here.")
        # Ctrl-C is how this command is meant to end, so it is no failure.
        with contextlib.suppress(KeyboardInterrupt):
            while api.is_up():
                time.sleep(5)
            raise Failure(f"Airflow has ended: see {settings.airflow_home}/standalone.log")
    progress.line("Stopped: nothing is left running.")


if __name__ == "__main__":
    main("make start", __doc__, start)
