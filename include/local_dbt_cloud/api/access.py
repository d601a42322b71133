"""Who may ask, and for what: the dependencies that the endpoints share."""

import hmac
from typing import Annotated

from fastapi import Depends, Header, Path

from include.local_dbt_cloud.api.envelope import refusal
from include.local_dbt_cloud.api.objects import Writer
from include.local_dbt_cloud.api.query import related
from include.local_dbt_cloud.dependencies import TheService, TheSession
from include.local_dbt_cloud.entry import MAX_ID
from include.local_dbt_cloud.jobs import active_job
from include.local_dbt_cloud.store import Job, Run

Id = Annotated[int, Path(ge=-MAX_ID, le=MAX_ID)]


async def _writer(
    service: TheService, session: TheSession, related: Annotated[set[str], Depends(related)]
) -> Writer:
    return Writer(service, session, related)


TheWriter = Annotated[Writer, Depends(_writer)]


async def check_token(service: TheService, authorization: Annotated[str, Header()] = "") -> None:
    """Refuse with 401 whoever does not send the token, as ``Token ...`` or as ``Bearer ...``."""
    kind, _, token = authorization.partition(" ")
    token = token.strip()
    is_ours = hmac.compare_digest(token.encode(), service.token.encode())
    if kind.lower() not in ("token", "bearer") or not is_ours:
        raise refusal(401)


async def check_account(service: TheService, account_id: Id) -> None:
    """Refuse with 403 a path that names another account."""
    if account_id != service.declaration.account.id:
        raise refusal(403)


async def _run(session: TheSession, run_id: Id) -> Run:
    run = session.get(Run, run_id)
    if run is None:
        raise refusal(404)
    return run


async def _job(session: TheSession, job_id: Id) -> Job:
    job = active_job(session, job_id)
    if job is None:
        raise refusal(404)
    return job


# The run and the job that a path names; without one the answer is 404.
TheRun = Annotated[Run, Depends(_run)]
TheJob = Annotated[Job, Depends(_job)]
