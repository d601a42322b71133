"""Lists of objects that the local dbt Cloud does not have, for clients that read a whole account."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from local_dbt_cloud.api.authentication import account_router
from local_dbt_cloud.api.envelope import list_envelope
from local_dbt_cloud.api.query import ListQuery
from local_dbt_cloud.dependencies import ServiceDependency

V2_PATHS = ("/encryptions", "/invites", "/licenses", "/notifications", "/users")
V3_PATHS = (
    "/audit-logs", "/groups", "/ip-restrictions", "/license-maps", "/notifications", "/oauth-configurations",
    "/private-endpoints", "/projects/{project_id}/integrations/lineage", "/projects/{project_id}/profiles",
    "/semantic-layer-credentials", "/service-tokens", "/users", "/webhooks/subscriptions",
)  # fmt: skip


async def list_nothing(
    request: Request, service: ServiceDependency, query: Annotated[ListQuery, Query()]
) -> JSONResponse:
    """Return an empty list, with a message that it is always empty."""
    name = request.url.path.rstrip("/").rpartition("/")[2].replace("-", " ")
    return list_envelope(
        service, [], 0, query, f"The local dbt Cloud has no {name}: this list is always empty."
    )


def _router(paths: tuple[str, ...]) -> APIRouter:
    router = account_router()
    for path in paths:
        router.add_api_route(path, list_nothing, methods=["GET"])
    return router


v2_router = _router(V2_PATHS)
v3_router = _router(V3_PATHS)
