"""The components of one local dbt Cloud, shared by the API and the pages."""

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session, sessionmaker

from local_dbt_cloud.account import AccountConfig, load_account_config
from local_dbt_cloud.certificates import prepare_certificates
from local_dbt_cloud.data_directory import DataDirectory
from local_dbt_cloud.database import Base, Run, database_error_message, open_database, restart_ids
from local_dbt_cloud.errors import UserError
from local_dbt_cloud.fault_injection import FaultRegistry
from local_dbt_cloud.history import fill_history
from local_dbt_cloud.provisioning import sync_declared
from local_dbt_cloud.request_log import RequestLog
from local_dbt_cloud.scheduler import Scheduler


@dataclass(frozen=True)
class Service:
    """The components of one local dbt Cloud.

    :param config: Contents of account.yaml.
    :param config_modified_at: Modification time of account.yaml: the ``created_at`` of the account.
    :param data: Directory for everything that is written.
    :param sessions: Factory of database sessions.
    :param scheduler: Run queue.
    :param faults: Active faults.
    :param requests: Recorded requests.
    :param pages_url: Address of the pages, without a trailing slash.
    :param token: API token that clients must send.
    :param runs_schedules: Whether scheduled jobs run at their times.
    """

    config: AccountConfig
    config_modified_at: datetime
    data: DataDirectory
    sessions: sessionmaker[Session]
    scheduler: Scheduler
    faults: FaultRegistry
    requests: RequestLog
    pages_url: str
    token: str
    runs_schedules: bool = False

    def href(self, run: Run) -> str:
        """Return the address of a run's page."""
        account_id = self.config.account.id
        return f"{self.pages_url}/deploy/{account_id}/projects/{run.project_id}/runs/{run.id}/"

    async def reset(self) -> None:
        """Restore the state of a first start: what account.yaml declares, and no runs, faults or requests."""
        self.faults.clear()
        await self.scheduler.discard_all_runs()
        with self.sessions.begin() as session:
            for table in reversed(Base.metadata.sorted_tables):
                session.execute(table.delete())
            restart_ids(session.connection())
        with self.sessions.begin() as session:
            sync_declared(session, self.config)
        shutil.rmtree(self.data.runs, ignore_errors=True)
        self.requests.clear()


def create_service(
    account_file: Path,
    data: DataDirectory,
    pages_url: str,
    token: str,
    history: int = 0,
    runs_schedules: bool = False,
) -> Service:
    """Load the account file, open the data directory and return the components.

    :param history: Add finished runs until there are this many.
    :param runs_schedules: Run scheduled jobs at their times.
    :raises UserError: The account file or a file of the data directory is missing, unreadable or invalid, or
        cannot be written.
    """
    config = load_account_config(account_file)
    try:
        prepare_certificates(data)
        sessions = open_database(data)
        with sessions.begin() as session:
            sync_declared(session, config)
            fill_history(session, history)
            # SQLite chooses indexes by these statistics.
            session.execute(text("ANALYZE"))
        scheduler = Scheduler(config, sessions, data)
    except (DatabaseError, ValueError) as error:
        # A ValueError if a row contains invalid JSON.
        reason = getattr(error, "orig", error)
        raise UserError(database_error_message(data.state_file, str(reason))) from error
    except OSError as error:
        raise UserError(f"Cannot write ({error}): make {data.root} writable, or free disk space.") from error
    return Service(
        config=config,
        config_modified_at=datetime.fromtimestamp(account_file.stat().st_mtime, UTC),
        data=data,
        sessions=sessions,
        scheduler=scheduler,
        faults=FaultRegistry(),
        requests=RequestLog(),
        pages_url=pages_url,
        token=token,
        runs_schedules=runs_schedules,
    )
