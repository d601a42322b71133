"""Endpoints for the account."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from local_dbt_cloud.api.envelope import envelope, list_envelope
from local_dbt_cloud.api.parameters import SerializerDependency
from local_dbt_cloud.api.query import ListQuery

list_router = APIRouter()
router = APIRouter()


@list_router.get("")
async def list_accounts(serializer: SerializerDependency) -> JSONResponse:
    """List the accounts of the token: always the one account."""
    return list_envelope(serializer.service, [serializer.account()], 1, ListQuery())


@router.get("")
async def get_account(serializer: SerializerDependency) -> JSONResponse:
    """Get the account."""
    return envelope(serializer.account())
