"""Who may ask, and for what: the dependencies that the endpoints share."""

import hmac
from typing import Annotated

from fastapi import Depends, Header, Path, Request
from sqlalchemy.orm import Session

from include.local_dbt_cloud.account import MAX_INT64
from include.local_dbt_cloud.api.envelope import refusal
from include.local_dbt_cloud.service import Service
from include.local_dbt_cloud.store import Run

Id = Annotated[int, Path(ge=-MAX_INT64, le=MAX_INT64)]


async def _service(request: Request) -> Service:
    return request.app.state.service


TheService = Annotated[Service, Depends(_service)]


async def check_token(service: TheService, authorization: Annotated[str, Header()] = "") -> None:
    """Refuse with 401 whoever does not send the token, as ``Token ...`` or as ``Bearer ...``."""
    kind, _, token = authorization.partition(" ")
    if kind not in ("Token", "Bearer") or not hmac.compare_digest(token.encode(), service.token.encode()):
        raise refusal(401)


async def check_account(service: TheService, account_id: Id) -> None:
    """Refuse with 403 a path that names another account."""
    if account_id != service.declaration.account.id:
        raise refusal(403)


def run_or_404(session: Session, run_id: int) -> Run:
    """Return a stored run, or refuse with 404."""
    run = session.get(Run, run_id)
    if run is None:
        raise refusal(404)
    return run
