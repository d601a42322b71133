"""`make start`: run the local dbt Cloud and Airflow with its UI until Ctrl-C."""

import contextlib
import time

from scripts.cli import main
from scripts.exceptions import UserError
from scripts.lock import locked
from scripts.progress import Progress
from scripts.settings import DAG_ID, Settings
from scripts.stack import airflow, airflow_log, check_connection, local_dbt_cloud

NEXT_STEPS = (
    "1. Open Airflow and turn on the Dag with the switch next to its name: its daily run starts at once.",
    '2. Click the newest square of trigger_job, then the tab "dbt results": every model and test.',
    "3. Press Ctrl-C to stop both.",
)


def start(settings: Settings, progress: Progress) -> None:
    """Start the services, print their links, and run until Ctrl-C.

    :raises UserError: A command already runs, a service did not start, or Airflow stopped.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(locked(settings.airflow_home, "make start", settings.airflow_url))
        dbt_cloud_url = f"https://{settings.connection.host}"
        if settings.is_local:
            stack.enter_context(local_dbt_cloud(settings, progress))
            dbt_cloud_url = settings.pages_url
        check_connection(settings)
        api = stack.enter_context(airflow(settings, progress))
        progress.print(f"Airflow    {settings.airflow_url}/dags/{DAG_ID}")
        progress.print(f"dbt Cloud  {dbt_cloud_url}")
        for line in NEXT_STEPS:
            progress.print(line)
        # Not an error: this command ends with Ctrl-C.
        with contextlib.suppress(KeyboardInterrupt):
            while api.is_listening():
                time.sleep(5)
            raise UserError(f"Airflow stopped. See {airflow_log(settings, 'standalone')}")
    progress.stopped()


if __name__ == "__main__":
    main("make start", __doc__, start)
