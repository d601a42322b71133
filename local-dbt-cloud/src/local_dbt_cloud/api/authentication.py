"""Authentication of requests."""

import hmac
from typing import Annotated

from fastapi import APIRouter, Depends, Header

from local_dbt_cloud.api.envelope import api_error
from local_dbt_cloud.api.parameters import PathId
from local_dbt_cloud.dependencies import ServiceDependency


async def check_token(service: ServiceDependency, authorization: Annotated[str, Header()] = "") -> None:
    """Respond with 401 unless the request has the token, as ``Token ...`` or ``Bearer ...``."""
    scheme, _, token = authorization.partition(" ")
    is_valid = hmac.compare_digest(token.strip().encode(), service.token.encode())
    if scheme.lower() not in ("token", "bearer") or not is_valid:
        raise api_error(401)


async def check_account(service: ServiceDependency, account_id: PathId) -> None:
    """Respond with 403 if the path names another account."""
    if account_id != service.config.account.id:
        raise api_error(403)


def account_router(prefix: str = "") -> APIRouter:
    """Return a router for endpoints below ``/api/{version}/accounts/{account_id}``, with both checks.

    :param prefix: Path below the account.
    """
    return APIRouter(prefix=prefix, dependencies=[Depends(check_token), Depends(check_account)])
