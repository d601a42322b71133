"""Endpoints for the account and the user of the token."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from local_dbt_cloud.api.envelope import envelope, list_envelope
from local_dbt_cloud.api.parameters import SerializerDependency
from local_dbt_cloud.api.query import ListQuery

user_router = APIRouter()
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


# Not in the OpenAPI files, but the Terraform provider calls it.
@user_router.get("/api/v2/whoami")
async def get_user(serializer: SerializerDependency) -> JSONResponse:
    """Get the user of the token: always the same one, who is in no list of users."""
    user = {
        "id": 1,
        "email": "user@local-dbt-cloud.invalid",
        "first_name": "Local",
        "last_name": "User",
        "is_active": True,
        "permissions": [],
    }
    return envelope({"user": user, "accounts": [serializer.account()]})
