"""Who may ask, and for what: the dependencies that the endpoints share."""

import hmac
from typing import Annotated

from fastapi import Depends, Header, Path

from local_dbt_cloud.api.envelope import refusal
from local_dbt_cloud.api.query import related
from local_dbt_cloud.api.serializers import Serializer
from local_dbt_cloud.database import Job, Run
from local_dbt_cloud.dependencies import ServiceDependency, SessionDependency
from local_dbt_cloud.job_store import active_job
from local_dbt_cloud.validation import MAX_ID

Id = Annotated[int, Path(ge=-MAX_ID, le=MAX_ID)]


async def _serializer(
    service: ServiceDependency, session: SessionDependency, related: Annotated[set[str], Depends(related)]
) -> Serializer:
    return Serializer(service, session, related)


SerializerDependency = Annotated[Serializer, Depends(_serializer)]


async def check_token(service: ServiceDependency, authorization: Annotated[str, Header()] = "") -> None:
    """Refuse with 401 whoever does not send the token, as ``Token ...`` or as ``Bearer ...``."""
    kind, _, token = authorization.partition(" ")
    token = token.strip()
    is_ours = hmac.compare_digest(token.encode(), service.token.encode())
    if kind.lower() not in ("token", "bearer") or not is_ours:
        raise refusal(401)


async def check_account(service: ServiceDependency, account_id: Id) -> None:
    """Refuse with 403 a path that names another account."""
    if account_id != service.declaration.account.id:
        raise refusal(403)


async def _run(session: SessionDependency, run_id: Id) -> Run:
    run = session.get(Run, run_id)
    if run is None:
        raise refusal(404)
    return run


async def _job(session: SessionDependency, job_id: Id) -> Job:
    job = active_job(session, job_id)
    if job is None:
        raise refusal(404)
    return job


# The run and the job that a path names; without one the answer is 404.
RunDependency = Annotated[Run, Depends(_run)]
JobDependency = Annotated[Job, Depends(_job)]
