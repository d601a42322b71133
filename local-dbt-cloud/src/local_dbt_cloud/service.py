"""The parts of one local dbt Cloud, put together; the API and the pages act through it."""

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from local_dbt_cloud.account import Declaration, read_declaration
from local_dbt_cloud.certificates import prepare_certificates
from local_dbt_cloud.data_directory import DataDirectory
from local_dbt_cloud.database import Base, Run, open_store
from local_dbt_cloud.fault_injection import Faults
from local_dbt_cloud.history import fill_history
from local_dbt_cloud.job_store import declare_jobs
from local_dbt_cloud.request_log import RequestLog
from local_dbt_cloud.scheduler import Scheduler


@dataclass(frozen=True)
class Service:
    """One local dbt Cloud: what is declared, what is stored, what runs, and how to reach it."""

    declaration: Declaration
    declared_at: datetime
    data: DataDirectory
    sessions: sessionmaker[Session]
    scheduler: Scheduler
    faults: Faults
    requests: RequestLog
    pages_url: str
    token: str

    def href(self, run: Run) -> str:
        """Return the address of a run's page."""
        account = self.declaration.account.id
        return f"{self.pages_url}/deploy/{account}/projects/{run.project_id}/runs/{run.id}/"

    async def reset(self) -> None:
        """Return to the state of a first start: the declared jobs, no run, no fault, no recorded request."""
        self.faults.clear()
        await self.scheduler.discard_all_runs()
        with self.sessions.begin() as session:
            for table in reversed(Base.metadata.sorted_tables):
                session.execute(table.delete())
            # Ids start at 1 again.
            session.execute(text("DELETE FROM sqlite_sequence"))
        with self.sessions.begin() as session:
            declare_jobs(session, self.declaration)
        shutil.rmtree(self.data.runs, ignore_errors=True)
        self.requests.clear()


def open_service(
    account_file: Path, data: DataDirectory, pages_url: str, token: str, history: int = 0
) -> Service:
    """Open the data directory, made if there is none, and serve the declared account from it.

    :param history: how many finished runs there shall be at least.
    :raises UserError: the account file or the state file is missing, unreadable or wrong.
    """
    declaration = read_declaration(account_file)
    prepare_certificates(data)
    sessions = open_store(data)
    with sessions.begin() as session:
        declare_jobs(session, declaration)
        fill_history(session, history)
        # So that SQLite chooses its indexes by what is in them.
        session.execute(text("ANALYZE"))
    return Service(
        declaration=declaration,
        declared_at=datetime.fromtimestamp(account_file.stat().st_mtime, UTC),
        data=data,
        sessions=sessions,
        scheduler=Scheduler(declaration, sessions, data),
        faults=Faults(),
        requests=RequestLog(),
        pages_url=pages_url,
        token=token,
    )
