"""FastAPI dependencies of both the API and the pages."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.orm import Session

from local_dbt_cloud.service import Service


async def _service(request: Request) -> Service:
    return request.app.state.service


ServiceDependency = Annotated[Service, Depends(_service)]


async def _session(service: ServiceDependency) -> AsyncIterator[Session]:
    with service.sessions() as session:
        yield session


SessionDependency = Annotated[Session, Depends(_session)]
