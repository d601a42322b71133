"""Endpoints for the account and the user of the token."""

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse

from local_dbt_cloud.api.authentication import check_account, check_token
from local_dbt_cloud.api.envelope import envelope, list_envelope
from local_dbt_cloud.api.parameters import SerializerDependency
from local_dbt_cloud.api.query import ListQuery

router = APIRouter(dependencies=[Depends(check_token)])


@router.get("/api/v2/accounts")
@router.get("/api/v3/accounts")
async def list_accounts(serializer: SerializerDependency) -> JSONResponse:
    """List the accounts of the token: always the one account."""
    return list_envelope(serializer.service, [serializer.account()], 1, ListQuery())


@router.get("/api/v2/accounts/{account_id}", dependencies=[Depends(check_account)])
@router.get("/api/v3/accounts/{account_id}", dependencies=[Depends(check_account)])
async def get_account(serializer: SerializerDependency) -> JSONResponse:
    """Get the account."""
    return envelope(serializer.account())


# Not in the OpenAPI files, but the Terraform provider calls it.
@router.get("/api/v2/whoami")
async def get_user(serializer: SerializerDependency) -> JSONResponse:
    """Get the user of the token: always the same one, although the lists of users are empty."""
    user = {
        "id": 1,
        "email": "user@local-dbt-cloud.invalid",
        "first_name": "Local",
        "last_name": "User",
        "is_active": True,
        "permissions": [],
    }
    return envelope({"user": user, "accounts": [serializer.account()]})
