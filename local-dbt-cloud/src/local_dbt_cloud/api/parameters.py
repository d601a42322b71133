"""Parameters of several endpoints: IDs, the run or job of the path, the serializer."""

from typing import Annotated

from fastapi import Depends, Path

from local_dbt_cloud.api.envelope import api_error
from local_dbt_cloud.api.query import include_related
from local_dbt_cloud.api.serializers import Serializer
from local_dbt_cloud.database import Job, Run
from local_dbt_cloud.dependencies import ServiceDependency, SessionDependency
from local_dbt_cloud.job_store import active_job
from local_dbt_cloud.validation import MAX_ID

PathId = Annotated[int, Path(ge=-MAX_ID, le=MAX_ID)]


async def _serializer(
    service: ServiceDependency,
    session: SessionDependency,
    related: Annotated[set[str], Depends(include_related)],
) -> Serializer:
    return Serializer(service, session, related)


async def _run(session: SessionDependency, run_id: PathId) -> Run:
    run = session.get(Run, run_id)
    if run is None:
        raise api_error(404)
    return run


async def _job(session: SessionDependency, job_id: PathId) -> Job:
    job = active_job(session, job_id)
    if job is None:
        raise api_error(404)
    return job


SerializerDependency = Annotated[Serializer, Depends(_serializer)]
# The response is 404 if the run or job does not exist.
RunDependency = Annotated[Run, Depends(_run)]
JobDependency = Annotated[Job, Depends(_job)]
